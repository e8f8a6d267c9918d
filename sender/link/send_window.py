"""The sender's window of unacknowledged frames: which frame is sent next, and which may have to be sent again."""

from dataclasses import dataclass

from common.frames import LabelFrame


@dataclass(frozen=True, slots=True)
class InFlight:
    """A frame that was sent and not yet acknowledged.

    Args:
        sent_at_s: monotonic time of sending.
        message_bytes: about the size of its gRPC message.
        sent_spacing_ms: since the previous frame was sent on the same stream; None for its first.
        waited: the frame was ready before the window had room for it.
    """

    frame: LabelFrame
    sent_at_s: float
    message_bytes: int
    sent_spacing_ms: float | None
    waited: bool


@dataclass(frozen=True, slots=True)
class Resumption:
    """What became of the unacknowledged frames on a new stream.

    Args:
        delivered: the receiver had decoded them; only their acknowledgement was lost.
        superseded: live frames that newer ones have replaced.
        lost: whether any frame has to be encoded and sent again.
    """

    delivered: tuple[LabelFrame, ...]
    superseded: tuple[LabelFrame, ...]
    lost: bool


class SendWindow:
    """Frames waiting, in flight, and to be sent again; unencoded, because their reference is chosen when they leave.

    A live window has one waiting place, and the newest frame takes it. Otherwise a frame may be offered only while
    `has_room`, so that the producer waits and no frame is lost.

    Args:
        size: how many frames may be unacknowledged, 1 or more; may be set, and those in flight stay in flight.
    """

    def __init__(self, size: int, *, live: bool) -> None:
        self.size = size
        self._live = live
        self._waiting: LabelFrame | None = None
        self._held_back = False
        self._again: dict[int, LabelFrame] = {}
        self._in_flight: dict[int, InFlight] = {}

    @property
    def has_room(self) -> bool:
        return self._live or self._waiting is None

    @property
    def outstanding(self) -> int:
        """Number of frames that have not met their fate."""
        return len(self._in_flight) + len(self._again) + (self._waiting is not None)

    @property
    def oldest_unacknowledged(self) -> int | None:
        """The lowest sequence that may have to be sent again."""
        return min([*self._in_flight, *self._again], default=None)

    def offer(self, frame: LabelFrame) -> LabelFrame | None:
        """Puts a frame in the waiting place; returns the frame that it replaces, if any.

        Raises:
            ValueError: there is no room.
        """
        if not self.has_room:
            raise ValueError(f"frame {frame.sequence} offered to a full window")
        replaced, self._waiting = self._waiting, frame
        self._held_back = self._full
        return replaced

    @property
    def held_back(self) -> bool:
        """Whether the frame that `ready` returns had to wait for room."""
        return bool(self._again) or self._held_back

    @property
    def _full(self) -> bool:
        return len(self._in_flight) >= self.size

    @property
    def room(self) -> int:
        """How many frames may be sent before another one is acknowledged."""
        return max(self.size - len(self._in_flight), 0)

    @property
    def in_flight(self) -> tuple[InFlight, ...]:
        """The frames in flight, in the order in which they were sent first."""
        return tuple(self._in_flight.values())

    def find(self, sequence: int) -> InFlight | None:
        """The frame in flight with this number, if there is one."""
        return self._in_flight.get(sequence)

    def ready(self) -> LabelFrame | None:
        """The frame to encode and send now; None if there is none, or the window is full."""
        if self._full:
            return None
        return self._again[min(self._again)] if self._again else self._waiting

    def sent(self, in_flight: InFlight) -> None:
        """Records the departure of the frame that `ready` returned."""
        sequence = in_flight.frame.sequence
        if self._again.pop(sequence, None) is None:
            self._waiting = None
        self._in_flight[sequence] = in_flight

    def acknowledged(self, sequence: int) -> InFlight | None:
        """Removes a frame from the window; None if it was not in flight."""
        return self._in_flight.pop(sequence, None)

    def rejected(self, sequence: int) -> InFlight | None:
        """Handles a frame that the receiver could not decode: a live one is dropped, any other is sent again."""
        in_flight = self._in_flight.pop(sequence, None)
        if in_flight is not None and not self._live:
            self._again[sequence] = in_flight.frame
        return in_flight

    def resume(self, next_sequence: int) -> Resumption:
        """Settles the unacknowledged frames on a new stream; the receiver has decoded those below `next_sequence`."""
        unacknowledged = {
            **self._again,
            **{sequence: in_flight.frame for sequence, in_flight in self._in_flight.items()},
        }
        self._in_flight.clear()
        sequences = sorted(unacknowledged)
        delivered = tuple(unacknowledged[sequence] for sequence in sequences if sequence < next_sequence)
        self._again = {sequence: unacknowledged[sequence] for sequence in sequences if sequence >= next_sequence}
        lost = bool(self._again)
        return Resumption(delivered, self._keep_newest() if self._live else (), lost)

    def _keep_newest(self) -> tuple[LabelFrame, ...]:
        candidates = list(self._again.values())
        self._again.clear()
        if self._waiting is None and candidates:
            self._waiting = candidates.pop()
        return tuple(candidates)
