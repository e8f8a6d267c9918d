"""Packet trains: messages sent back to back, whose spacing on arrival measures the capacity of the link."""

from collections.abc import Sequence
from dataclasses import dataclass

from sender.congestion.samples import wire_bytes

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
# The same where a new measurement matters little: most bytes for each byte of frames, and the longest time between two
# trains; estimates expire after twice as long.
_RARE_SHARE, _RARE_INTERVAL_MS = 0.25, 8000.0


@dataclass(frozen=True, slots=True)
class PacketTrainSample:
    """What one packet train measured.

    Args:
        bps: bits per second, headers included.
        resolved: the spacing was long enough for the clocks; otherwise `bps` is only a lower bound.
        wire_bytes: size of the whole train on the link, headers included.
    """

    bps: float
    resolved: bool
    wire_bytes: int


def measure(arrivals_ms: Sequence[float], message_bytes: Sequence[int]) -> PacketTrainSample:
    """The rate at which a train's last message arrived, right behind the one before.

    Earlier messages only wake the receiver: they find its process asleep and are time-stamped late.

    Args:
        arrivals_ms: (N,) arrival of each message at the receiver, N >= 2.
        message_bytes: (N,) their sizes, without headers.
    """
    spacing_ms = arrivals_ms[-1] - arrivals_ms[-2]
    sizes = [wire_bytes(size) for size in message_bytes]
    bps = 8e3 * sizes[-1] / max(spacing_ms, _CLOCK_RESOLUTION_MS)
    return PacketTrainSample(bps, spacing_ms >= _CLOCK_RESOLUTION_MS, sum(sizes))


def message_sizes(expected_bps: float) -> tuple[int, ...]:
    """Sizes of a train's messages in bytes, without headers: long enough to resolve this capacity."""
    wanted = int(expected_bps * _DURATION_MS / 8e3)
    last = min(max(wanted - wire_bytes(0), _LEAST_BYTES), _MOST_BYTES)
    reference = max(int(last * _REFERENCE_SHARE), _LEAST_BYTES)
    return (reference, last) if last < _WAKE_UP_FROM_BYTES else (_LEAST_BYTES, reference, last)


def pause_ms(messages: Sequence[int], expected_bps: float) -> float:
    """Time from a train to the next, so that trains do not delay frames."""
    return max(_INTERVAL_MS, _wire_bits(messages) / (_SHARE * expected_bps) * 1e3)


def rare_pause_ms(messages: Sequence[int], frames_bps: float) -> float:
    """Time from a train to the next while a new measurement matters little.

    Args:
        frames_bps: bits a second of the frames, headers included; above 0.
    """
    return min(_wire_bits(messages) / (_RARE_SHARE * frames_bps) * 1e3, _RARE_INTERVAL_MS)


def _wire_bits(messages: Sequence[int]) -> int:
    return 8 * sum(map(wire_bytes, messages))
