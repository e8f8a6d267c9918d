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


@dataclass(frozen=True, slots=True)
class PacketTrainPlan:
    """Sizes and frequency of packet trains: long enough to resolve the capacity, and rare enough not to delay frames.

    Args:
        duration_ms: transmission time of a train's last message.
        share: most of the capacity that trains may use.
        interval_ms: shortest time between two trains.
        least_bytes: smallest size of a message.
        most_bytes: largest size of the last message. TCP starts with a congestion window of ten packets and shrinks a
            larger one that is not used: the excess arrives a round trip later and does not measure the link.
        rare_share: most bytes of trains for each byte of frames, where a new measurement matters little.
        rare_interval_ms: longest time between two trains; estimates expire after twice as long.
    """

    duration_ms: float = 10.0
    share: float = 0.04
    interval_ms: float = 350.0
    least_bytes: int = 40
    most_bytes: int = 10_000
    rare_share: float = 0.25
    rare_interval_ms: float = 8000.0

    def messages(self, expected_bps: float) -> tuple[int, ...]:
        """Sizes of a train's messages in bytes, without headers."""
        wanted = int(expected_bps * self.duration_ms / 8e3)
        last = min(max(wanted - wire_bytes(0), self.least_bytes), self.most_bytes)
        reference = max(int(last * _REFERENCE_SHARE), self.least_bytes)
        return (reference, last) if last < _WAKE_UP_FROM_BYTES else (self.least_bytes, reference, last)

    def pause_ms(self, messages: Sequence[int], expected_bps: float) -> float:
        """Time from a train to the next."""
        bits = 8 * sum(wire_bytes(size) for size in messages)
        return max(self.interval_ms, bits / (self.share * expected_bps) * 1e3)

    def rare_pause_ms(self, messages: Sequence[int], frames_bps: float) -> float:
        """Time from a train to the next while a new measurement matters little.

        Args:
            frames_bps: bits a second of the frames, headers included; above 0.
        """
        bits = 8 * sum(wire_bytes(size) for size in messages)
        return min(bits / (self.rare_share * frames_bps) * 1e3, self.rare_interval_ms)
