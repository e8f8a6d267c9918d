"""Trains: messages sent back to back, so that the spacing of their arrivals tells how fast the link carries.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sender.congestion.samples import wire_bytes

# Clocks are read by a program among others: what passes faster than this cannot be told from nothing.
_RESOLVED_MS = 3.0
# The message before the last keeps the link at work while the last is written.
_REFERENCE_SHARE = 4
# Where the link is so slow that the last message is shorter, waking costs more than it gives.
_WAKING_FROM = 600


@dataclass(frozen=True, slots=True)
class PacketTrainSample:
    """What one train measured.

    Args:
        bps: bits per second, headers included.
        resolved: it took long enough for the clocks; otherwise `bps` is only a lower bound.
        wire_bytes: what the train took of the link, headers included.
    """

    bps: float
    resolved: bool
    wire_bytes: int


def measure(arrivals_ms: Sequence[float], message_bytes: Sequence[int]) -> PacketTrainSample:
    """The rate at which a train's last message came in, right behind the one before.

    What comes first finds a receiver that is asleep, and is noted late: the first messages of a train only wake it.

    Args:
        arrivals_ms: (N,) of each message at the receiver, N >= 2.
        message_bytes: (N,) their sizes, without headers.
    """
    spacing_ms = arrivals_ms[-1] - arrivals_ms[-2]
    sizes = [wire_bytes(each) for each in message_bytes]
    bps = 8e3 * sizes[-1] / max(spacing_ms, _RESOLVED_MS)
    return PacketTrainSample(bps, spacing_ms >= _RESOLVED_MS, sum(sizes))


@dataclass(frozen=True, slots=True)
class PacketTrainPlan:
    """How long trains are and how often they go, so that they resolve the capacity, delay no frame and stay few.

    Args:
        duration_ms: what a train's last message takes of the link.
        share: most of the capacity that trains may use.
        interval_ms: at least so long between two.
        least_bytes: a message has at least so many.
        most_bytes: the last message has at most so many. TCP begins with a window of ten packets and lets go of a
            larger one that is not used: what exceeds it comes a round trip later, which is no measure of the link.
    """

    duration_ms: float = 10.0
    share: float = 0.04
    interval_ms: float = 350.0
    least_bytes: int = 40
    most_bytes: int = 10_000

    def messages(self, expected_bps: float) -> tuple[int, ...]:
        """Sizes of a train's messages, without headers."""
        wanted = int(expected_bps * self.duration_ms / 8e3)
        last = min(max(wanted - wire_bytes(0), self.least_bytes), self.most_bytes)
        reference = max(last // _REFERENCE_SHARE, self.least_bytes)
        return (reference, last) if last < _WAKING_FROM else (self.least_bytes, reference, last)

    def pause_ms(self, messages: Sequence[int], expected_bps: float) -> float:
        """How long to wait after a train before the next."""
        bits = 8 * sum(wire_bytes(each) for each in messages)
        return max(self.interval_ms, bits / (self.share * expected_bps) * 1e3)
