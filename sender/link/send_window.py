"""The sender's window of unacknowledged messages: which frames are sent next, and which may have to be sent again.

A message has a frame, or a bundle of those that had to wait for the window or the budget.
"""

from dataclasses import dataclass
from typing import Final

from common.codec.packet import MAX_BUNDLE, can_share_packet
from common.frames import LabelFrame

Frames = tuple[LabelFrame, ...]
# Live frames are of no use so long after their capture, on whatever link: a stall does not end with a long message.
_LIVE_SPAN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that was sent and not yet acknowledged.

    Args:
        frames: in order.
        sent_at_s: monotonic time of sending.
        message_bytes: about the size of its gRPC message.
        sent_spacing_ms: since the previous message was sent on the same stream; None for its first.
        waited: a frame was ready before the window had room for it.
    """

    frames: Frames
    sent_at_s: float
    message_bytes: int
    sent_spacing_ms: float | None
    waited: bool

    @property
    def sequence(self) -> int:
        """The number of its last frame, which its acknowledgement names."""
        return self.frames[-1].sequence


@dataclass(frozen=True, slots=True)
class Resumption:
    """What became of the unacknowledged frames on a new stream.

    Args:
        delivered: the receiver had decoded them; only their acknowledgement was lost.
        superseded: live frames that newer ones have replaced.
        lost: whether any frame has to be encoded and sent again.
    """

    delivered: Frames
    superseded: Frames
    lost: bool


class SendWindow:
    """Frames waiting, in flight, and to be sent again; unencoded, because their reference is chosen when they leave.

    Frames that wait leave together.  Of too many live frames those are left out that the others tell most about.
    Otherwise a frame may be offered only while `has_room`, so that the producer waits and no frame is lost.

    Args:
        size: how many messages may be unacknowledged, 1 or more; may be set, and those in flight stay in flight.

    Attributes:
        bundle: most frames of a message, 1 to `MAX_BUNDLE`; may be set.
    """

    def __init__(self, size: int, *, live: bool) -> None:
        self.size = size
        self.bundle = MAX_BUNDLE
        self._live = live
        self._waiting: list[LabelFrame] = []
        self._held_back = False
        self._last_sent = -1
        self._again: dict[int, LabelFrame] = {}
        self._in_flight: dict[int, InFlight] = {}

    @property
    def has_room(self) -> bool:
        return self._live or len(self._waiting) < self.bundle

    @property
    def waiting(self) -> int:
        """Number of frames that were not sent yet."""
        return len(self._waiting)

    @property
    def outstanding(self) -> int:
        """Number of frames that have not met their fate."""
        return sum(len(message.frames) for message in self.in_flight) + len(self._again) + len(self._waiting)

    @property
    def oldest_unacknowledged(self) -> int | None:
        """The lowest sequence that may have to be sent again."""
        return min([*(message.frames[0].sequence for message in self.in_flight), *self._again], default=None)

    def offer(self, frame: LabelFrame) -> Frames:
        """Takes a frame; returns the live frames that it supersedes.

        Raises:
            ValueError: there is no room.
        """
        if not self.has_room:
            raise ValueError(f"frame {frame.sequence} offered to a full window")
        self._waiting.append(frame)
        self._held_back |= self._full
        superseded = []
        while self._live and (excess := self._excess()) is not None:
            superseded.append(self._waiting.pop(excess))
        return tuple(superseded)

    def _excess(self) -> int | None:
        """The place of a waiting frame that is left out: an old one, or one that has others close before and behind.

        The newest is kept, and what was sent last counts as before the first.
        """
        waiting = self._waiting
        age_s = waiting[-1].captured_at - waiting[0].captured_at
        if len(waiting) > 1 and not 0 <= age_s <= _LIVE_SPAN_S:
            return 0
        if len(waiting) <= self.bundle and can_share_packet(waiting):
            return None
        sequences = [self._last_sent, *(frame.sequence for frame in waiting)]
        gaps = [after - before for before, after in zip(sequences, sequences[2:], strict=False)]
        return gaps.index(min(gaps)) if gaps else 0

    @property
    def held_back(self) -> bool:
        """Whether one of the frames that `ready` returns had to wait for room."""
        return bool(self._again) or self._held_back

    @property
    def _full(self) -> bool:
        return len(self._in_flight) >= self.size

    @property
    def room(self) -> int:
        """How many messages may be sent before another one is acknowledged."""
        return max(self.size - len(self._in_flight), 0)

    @property
    def in_flight(self) -> tuple[InFlight, ...]:
        """The messages in flight, in the order in which they were sent first."""
        return tuple(self._in_flight.values())

    def find(self, sequence: int) -> InFlight | None:
        """The message in flight whose last frame has this number, if there is one."""
        return self._in_flight.get(sequence)

    def ready(self) -> Frames:
        """The frames to encode and send now; none if there are none, or the window is full."""
        if self._full:
            return ()
        waiting = [self._again[sequence] for sequence in sorted(self._again)] or self._waiting
        count = min(len(waiting), self.bundle)
        while count > 1 and not can_share_packet(waiting[:count]):
            count -= 1
        return tuple(waiting[:count])

    def may_grow(self, frames: Frames) -> bool:
        """Whether the next frame may leave in one message with these, which `ready` has returned."""
        return not self._again and len(frames) == len(self._waiting) < self.bundle

    def sent(self, in_flight: InFlight) -> None:
        """Records the departure of the frames that `ready` returned."""
        for frame in in_flight.frames:
            if self._again.pop(frame.sequence, None) is None:
                self._waiting = [other for other in self._waiting if other is not frame]
        self._held_back, self._last_sent = False, in_flight.sequence
        self._in_flight[in_flight.sequence] = in_flight

    def acknowledged(self, sequence: int) -> InFlight | None:
        """Removes a message from the window; None if it was not in flight."""
        return self._in_flight.pop(sequence, None)

    def rejected(self, sequence: int) -> InFlight | None:
        """Handles a message that the receiver could not decode: live frames are dropped, others are sent again."""
        in_flight = self._in_flight.pop(sequence, None)
        if in_flight is not None and not self._live:
            self._again |= {frame.sequence: frame for frame in in_flight.frames}
        return in_flight

    def resume(self, next_sequence: int) -> Resumption:
        """Settles the unacknowledged frames on a new stream; the receiver has decoded those below `next_sequence`."""
        sent = {frame.sequence: frame for message in self.in_flight for frame in message.frames}
        unacknowledged = self._again | sent
        self._in_flight.clear()
        sequences = sorted(unacknowledged)
        delivered = tuple(unacknowledged[sequence] for sequence in sequences if sequence < next_sequence)
        self._again = {sequence: unacknowledged[sequence] for sequence in sequences if sequence >= next_sequence}
        lost = bool(self._again)
        return Resumption(delivered, self._keep_newest() if self._live else (), lost)

    def _keep_newest(self) -> Frames:
        candidates = list(self._again.values())
        self._again.clear()
        if not self._waiting and candidates:
            self._waiting = [candidates.pop()]
        return tuple(candidates)
