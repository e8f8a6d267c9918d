"""Which frame goes next, and which may still get lost: the sender's side of at most `size` unacknowledged frames."""

from dataclasses import dataclass

from common.frames import LabelFrame


@dataclass(frozen=True, slots=True)
class InFlight:
    """A frame that was sent and not yet acknowledged.

    Args:
        sent_at_s: monotonic time of sending.
        sent_spacing_ms: since the previous frame was sent on the same stream; None for its first.
        waited: it was ready before the window had room for it.
    """

    frame: LabelFrame
    sent_at_s: float
    sent_spacing_ms: float | None
    waited: bool


@dataclass(frozen=True, slots=True)
class Resumption:
    """What became of the unacknowledged frames when a new stream began.

    Args:
        delivered: the receiver had decoded them; only their acknowledgement was lost.
        superseded: live frames that newer ones have replaced.
        lost: whether any frame has to be encoded and sent again.
    """

    delivered: tuple[LabelFrame, ...]
    superseded: tuple[LabelFrame, ...]
    lost: bool


class SendWindow:
    """Frames waiting, in flight, and to be sent again. Frames are held unencoded: what they are predicted from is
    decided when they leave.

    A live window has one waiting place, and the newest frame takes it. Otherwise a frame may be offered only while
    `has_room`, so that the producer waits and nothing is lost.
    """

    def __init__(self, size: int, *, live: bool) -> None:
        self.resize(size)
        self._live = live
        self._waiting: LabelFrame | None = None
        self._held_back = False
        self._again: dict[int, LabelFrame] = {}
        self._in_flight: dict[int, InFlight] = {}

    def resize(self, size: int) -> None:
        """Sets how many frames may be unacknowledged; those that already are stay."""
        if size < 1:
            raise ValueError(f"a window holds at least one frame, not {size}")
        self._size = size

    @property
    def has_room(self) -> bool:
        """Whether a frame may be offered now."""
        return self._live or self._waiting is None

    @property
    def idle(self) -> bool:
        """Whether everything offered has met its fate."""
        return self._waiting is None and not self._again and not self._in_flight

    @property
    def oldest_unacknowledged(self) -> int | None:
        """The lowest sequence that may have to be sent again."""
        return min([*self._in_flight, *self._again], default=None)

    def offer(self, frame: LabelFrame) -> LabelFrame | None:
        """Puts a frame in the waiting place; returns the one that it replaces there, if any."""
        if not self.has_room:
            raise ValueError(f"frame {frame.sequence} offered to a full window")
        replaced, self._waiting = self._waiting, frame
        self._held_back = self._full
        return replaced

    @property
    def held_back(self) -> bool:
        """Whether the frame that `ready` names had to wait for room."""
        return bool(self._again) or self._held_back

    @property
    def _full(self) -> bool:
        return len(self._in_flight) >= self._size

    def ready(self) -> LabelFrame | None:
        """The frame to encode and send now, or None: nothing to send, or the window is full."""
        if self._full:
            return None
        return self._again[min(self._again)] if self._again else self._waiting

    def sent(self, flight: InFlight) -> None:
        """Records that the frame that `ready` named is on its way."""
        sequence = flight.frame.sequence
        if self._again.pop(sequence, None) is None:
            self._waiting = None
        self._in_flight[sequence] = flight

    def acknowledged(self, sequence: int) -> InFlight | None:
        """Takes a frame out of the window; None if it was not in it."""
        return self._in_flight.pop(sequence, None)

    def rejected(self, sequence: int) -> InFlight | None:
        """The receiver could not decode a frame: a live one is given up, any other will be sent again."""
        flight = self._in_flight.pop(sequence, None)
        if flight is not None and not self._live:
            self._again[sequence] = flight.frame
        return flight

    def resume(self, next_sequence: int) -> Resumption:
        """A new stream began, and the receiver has decoded everything below `next_sequence`."""
        lost = {**self._again, **{sequence: flight.frame for sequence, flight in self._in_flight.items()}}
        self._in_flight.clear()
        delivered = tuple(lost[sequence] for sequence in sorted(lost) if sequence < next_sequence)
        self._again = {sequence: lost[sequence] for sequence in sorted(lost) if sequence >= next_sequence}
        again = bool(self._again)
        return Resumption(delivered, self._keep_newest() if self._live else (), again)

    def _keep_newest(self) -> tuple[LabelFrame, ...]:
        candidates = list(self._again.values())
        self._again.clear()
        if self._waiting is None and candidates:
            self._waiting = candidates.pop()
        return tuple(candidates)
