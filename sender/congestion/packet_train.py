"""Packet trains: messages sent back to back, whose spacing on arrival measures the capacity of the link."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.wire.traffic import wire_bytes

# Arrival times are read by a process among others: shorter spacings cannot be measured.
_CLOCK_RESOLUTION_MS = 3.0
# The message before the last keeps the link busy while the last is written; its size, relative to the last.
_REFERENCE_SHARE = 1 / 4
# From this size of the last message on, a short message first wakes the receiver.
_WAKE_UP_FROM_BYTES = 600
# Transmission time of a train's last message.
_DURATION_MS = 10.0
# Smallest size of a message, and largest of the last one. TCP starts with a congestion window of ten packets and
# shrinks a larger one that is not used: the excess arrives a round trip later and does not measure the link.
_LEAST_BYTES, _MOST_BYTES = 40, 10_000
# Most of the capacity that trains may use, and the shortest time between two.
_SHARE, _INTERVAL_MS = 0.04, 350.0
# Spacings from here on are exact to a few percent.
_PRECISE_MS = 6.0


@dataclass(frozen=True, slots=True)
class PacketTrainSample:
    """What one packet train measured.

    Args:
        bps: bits per second, headers included.
        spacing_ms: what the last message took to arrive.
    """

    bps: float
    spacing_ms: float

    @property
    def resolved(self) -> bool:
        """Whether the spacing was long enough for the clocks; otherwise `bps` is only a lower bound."""
        return self.spacing_ms >= _CLOCK_RESOLUTION_MS

    @property
    def precise(self) -> bool:
        """Whether the clocks' resolution matters little."""
        return self.spacing_ms >= _PRECISE_MS


def measure(arrivals_ms: Sequence[float], message_bytes: Sequence[int]) -> PacketTrainSample:
    """The rate at which a train's last message arrived, right behind the one before.

    Earlier messages only wake the receiver: they find its process asleep and are time-stamped late.

    Args:
        arrivals_ms: (N,) arrival of each message at the receiver, N >= 2.
        message_bytes: (N,) their sizes, without headers.
    """
    spacing_ms = arrivals_ms[-1] - arrivals_ms[-2]
    return PacketTrainSample(8e3 * wire_bytes(message_bytes[-1]) / max(spacing_ms, _CLOCK_RESOLUTION_MS), spacing_ms)


def message_sizes(expected_bps: float) -> tuple[int, ...]:
    """Sizes of a train's messages in bytes, without headers: long enough to resolve this capacity."""
    wanted = int(expected_bps * _DURATION_MS / 8e3)
    last = min(max(wanted - wire_bytes(0), _LEAST_BYTES), _MOST_BYTES)
    reference = max(int(last * _REFERENCE_SHARE), _LEAST_BYTES)
    return (reference, last) if last < _WAKE_UP_FROM_BYTES else (_LEAST_BYTES, reference, last)


def pause_ms(messages: Sequence[int], expected_bps: float) -> float:
    """Time from a train to the next, so that trains do not delay frames."""
    return max(_INTERVAL_MS, 8e3 * sum(map(wire_bytes, messages)) / (_SHARE * expected_bps))
