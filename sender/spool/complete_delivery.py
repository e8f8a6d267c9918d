"""Complete delivery: every frame arrives, in order, possibly later (`--delivery complete`).

    send ─→ spool ─→ link ─→ acknowledged (on disk at the receiver) ─→ removed from the spool

The receiver may be absent while the spool has room; the sender may be killed and restarted.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from common.blobs import Blob
from common.errors import PeerError
from common.frames import LabelFrame
from sender.link.client import LinkClient
from sender.link.observer import Fate, LinkObserver
from sender.spool.spool import Spool

T = TypeVar("T")

_FRAMES_PER_BATCH = 64
# Blobs of frames that wait in the spool: some hundred pictures.
_MOST_AHEAD_BYTES = 32_000_000


class Outstanding(LinkObserver):
    """Frames that were given to the link and are not acknowledged.

    Attributes:
        changed: set when a frame is acknowledged.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._sequences: set[int] = set()
        self._next = 0

    def add(self, frame: LabelFrame) -> None:
        """Records a frame that is given to the link."""
        self._sequences.add(frame.sequence)
        self._next = frame.sequence + 1

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.ACKNOWLEDGED:
            self._sequences.discard(frame.sequence)
            self.changed.set()

    @property
    def delivered(self) -> int:
        """Every frame below this sequence is acknowledged."""
        return min(self._sequences, default=self._next)


class CompleteDelivery:
    """Puts a spool between the pipeline and the link.

    `send` and `drain` raise errors of the background task (the receiver refuses, the disk is full).

    Args:
        link: not connected yet, not live, and without limits on the time to connect.
        spool: used by this object alone until `close`, which leaves it open.
        outstanding: one of the link's observers.
    """

    def __init__(self, link: LinkClient, spool: Spool, outstanding: Outstanding) -> None:
        self._link = link
        self._spool = spool
        self._outstanding = outstanding
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._changed = outstanding.changed
        self._progress = asyncio.Event()
        self._connected = False
        self._ahead: dict[int, Sequence[Blob]] = {}
        self._ahead_bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Starts to connect and to send the frames in the spool; does not wait for the receiver."""
        self._task = asyncio.create_task(self._deliver(), name="delivery")

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame; waits while the spool is full.

        Args:
            ahead: blobs that belong to the frame. The spool keeps none: they wait in memory, or are posted if there are
                too many.
        """
        self._check()
        while not self._spool.has_room:
            await self._until_progress()
        self._keep(frame.sequence, ahead)
        await self._on_disk(self._spool.append, frame)
        self._changed.set()

    def _keep(self, sequence: int, ahead: Sequence[Blob]) -> None:
        size = sum(len(blob.data) for blob in ahead)
        if self._ahead_bytes + size <= _MOST_AHEAD_BYTES:
            self._ahead[sequence] = ahead
            self._ahead_bytes += size
            return
        for blob in ahead:
            self.post(blob)

    def _belonging(self, sequence: int) -> Sequence[Blob]:
        """The blobs that are kept of a frame, which leaves now."""
        ahead = self._ahead.pop(sequence, ())
        self._ahead_bytes -= sum(len(blob.data) for blob in ahead)
        return ahead

    def post(self, blob: Blob) -> None:
        """Gives a blob to the link; blobs are not kept when the sender stops."""
        self._link.post(blob)

    @property
    def outstanding(self) -> int:
        """Number of frames in the spool, which are not acknowledged."""
        return self._spool.pending

    async def drain(self) -> None:
        """Waits until every frame is acknowledged, and ends the session at the receiver."""
        self._check()
        while self._spool.pending or not self._connected:
            await self._until_progress()
        await self._link.drain()

    async def close(self) -> None:
        """Stops at once; unacknowledged frames stay in the spool. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._link.close()
        self._disk.shutdown()

    def _check(self) -> None:
        if self._task is None:
            raise PeerError("the delivery is not connected")
        if self._task.done():
            self._task.result()

    async def _until_progress(self) -> None:
        """Waits until frames were delivered, or delivery has failed."""
        self._check()
        self._progress.clear()
        await self._progress.wait()
        self._check()

    async def _deliver(self) -> None:
        try:
            welcome = await self._link.connect()
            await self._on_disk(self._spool.skip, welcome.next_sequence)
            self._connected = True
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed(), name="spool")
                tasks.create_task(self._link.watch())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._progress.set()

    async def _feed(self) -> None:
        while True:
            self._changed.clear()
            for frame in await self._on_disk(self._spool.take, _FRAMES_PER_BATCH):
                self._outstanding.add(frame)
                await self._link.send(frame, self._belonging(frame.sequence))
                self._changed.set()
            await self._on_disk(self._spool.release, self._outstanding.delivered)
            self._progress.set()
            await self._changed.wait()

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, partial(work, *arguments))
