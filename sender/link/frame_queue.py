"""The link's one queue of frames: a send window, with memory or a spool behind it.

    put ─→ spool, if there is one ─→ waiting ─→ in flight ─→ acknowledged, and out of the spool
                                        again ◄────┘

The queue owns a frame until its fate is known, and says which ones are sent next.  Live and complete delivery differ by
what is dropped: of live frames those that newer ones make superfluous, and no other frame.  With a spool the producer
waits for room on the disk, otherwise for room in the window.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from common.codec.packet import MAX_BUNDLE, can_share_packet
from common.frames import LabelFrame
from sender.spool import Spool

T = TypeVar("T")

Frames = tuple[LabelFrame, ...]
# Live frames are of no use so long after their capture, on whatever link: a stall does not end with a long message.
_LIVE_SPAN_S: Final = 0.5
# Each read of the spool syncs it.
_FRAMES_PER_READ: Final = 64


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that was sent and not yet acknowledged.

    Args:
        frames: in order.
        sent_at_s: monotonic time of sending.
        message_bytes: about the size of its gRPC message.
        sent_spacing_ms: since the previous message was sent on the same stream; None for its first.
        waited: a frame was ready before the window had room for it.
        face_bytes: of the message, those of a face's picture.
    """

    frames: Frames
    sent_at_s: float
    message_bytes: int
    sent_spacing_ms: float | None
    waited: bool
    face_bytes: int = 0

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


class FrameQueue:
    """Frames until their fate is known; unencoded, because their reference is chosen when they leave.

    Frames that wait leave together, in a message.  Of too many live frames those are left out that the others tell most
    about.

    Args:
        size: how many messages may be unacknowledged, 1 or more; may be set, and those in flight stay in flight.
        spool: used by this object alone until `close`, which leaves it open; None if frames wait in memory.

    Attributes:
        bundle: most frames of a message, 1 to `MAX_BUNDLE`; may be set.
    """

    def __init__(self, size: int, *, live: bool, spool: Spool | None = None) -> None:
        self.size = size
        self.bundle = MAX_BUNDLE
        self._live = live
        self._spool = spool
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        # The next frame to read from the spool.
        self._unread = 0
        self._changed = asyncio.Event()
        self._waiting: list[LabelFrame] = []
        self._held_back = False
        self._last_sent = -1
        self._again: dict[int, LabelFrame] = {}
        self._in_flight: dict[int, InFlight] = {}

    def notify(self) -> None:
        """Wakes everything that waits for `change`."""
        self._changed.set()

    async def change(self) -> None:
        """Waits until something changes; the caller tests its condition without an `await` in between."""
        self._changed.clear()
        await self._changed.wait()

    @property
    def has_room(self) -> bool:
        """Whether a frame may be put."""
        return self._live or (self._wants_more if self._spool is None else self._spool.has_room)

    @property
    def _wants_more(self) -> bool:
        return len(self._waiting) < self.bundle

    async def put(self, frame: LabelFrame) -> Frames:
        """Takes a frame, for which there is room; returns the live frames that it supersedes.

        Raises:
            OutputError: the spool cannot be written.
        """
        if self._spool is None:
            superseded = self._offer(frame)
        else:
            await self._on_disk(self._spool.append, frame)
            superseded = ()
        self.notify()
        return superseded

    async def feed(self) -> None:
        """Moves frames from the spool into the window, and removes acknowledged ones from the disk, until cancelled.

        Raises:
            OutputError: the spool cannot be read or written.
        """
        while True:
            if self._spool is None or not await self._moved(self._spool):
                await self.change()

    async def _moved(self, spool: Spool) -> bool:
        """Reads or removes frames; False if there were none, and then without a pause in which others run."""
        delivered = min((frame.sequence for frame in self._unfinished), default=self._unread)
        if self._unread < spool.next_sequence and self._wants_more:
            # What follows damaged frames may be appended meanwhile.
            after = spool.next_sequence
            frames = await self._on_disk(spool.read, self._unread, _FRAMES_PER_READ)
            for frame in frames:
                self._offer(frame)
            self._unread = frames[-1].sequence + 1 if frames else after
        elif spool.delivered < delivered:
            await self._on_disk(spool.release, delivered)
        else:
            return False
        self.notify()
        return True

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, partial(work, *arguments))

    def close(self) -> None:
        """Waits until nothing uses the spool, where unacknowledged frames stay."""
        self._disk.shutdown()

    @property
    def waiting(self) -> int:
        """Number of frames that were not sent yet."""
        return len(self._waiting)

    @property
    def outstanding(self) -> int:
        """Number of frames that were taken and have not met their fate."""
        return self.unsettled if self._spool is None else self._spool.pending

    @property
    def unsettled(self) -> int:
        """Number of them that are in memory."""
        return len(self._unfinished)

    @property
    def _unfinished(self) -> Sequence[LabelFrame]:
        sent = (frame for message in self.in_flight for frame in message.frames)
        return [*sent, *self._again.values(), *self._waiting]

    @property
    def oldest_unacknowledged(self) -> int | None:
        """The lowest sequence that may have to be sent again."""
        return min([*(message.frames[0].sequence for message in self.in_flight), *self._again], default=None)

    def _offer(self, frame: LabelFrame) -> Frames:
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

    async def resume(self, next_sequence: int) -> Resumption:
        """Settles the unacknowledged frames on a new stream; the receiver has decoded those below `next_sequence`.

        Raises:
            UsageError, OutputError: as `Spool.skip`.
        """
        if self._spool is not None:
            await self._on_disk(self._spool.skip, next_sequence)
            self._unread = max(self._unread, next_sequence)
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
