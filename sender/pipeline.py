"""The sender's pipeline.

    playback ─ perception ─ semantics, clothes, face, hands ─ [ importance ─ rate ─ codec ] ─ link
                              │                                  when the frame leaves          │
                              └─ blob stages: colours, pictures ────────────────────────────────┘

The next frame is captured and perceived while the present one is labelled and sent, and the blobs of a stream's frame
are made when its labels are on their way.  The link calls what is in brackets (`sender.rate.rated_encoder`).
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, Protocol

from common.blobs import TEXTURE, WEARS, Blob
from common.clock import SYSTEM_CLOCK
from common.errors import PeerError, SourceError
from common.frames import LabelFrame
from sender.capture.source import CapturedFrame
from sender.labelling import BlobStage, Labelling, Networks
from sender.lookahead import Lookahead, Perceived
from sender.metrics import SenderMetrics
from sender.playback import Playback
from sender.rate.controller import RateController

# A sender that has to stop waits for unacknowledged frames as long as one is acknowledged in this time.
_STALLED_S = 1.5
# Frames in a spool, which may be many, are not lost by stopping.
_DURABLE_DRAIN_TIMEOUT_S = 1.5


class Delivery(Protocol):
    """Where the pipeline's frames go: the link, or a recording."""

    @property
    def outstanding(self) -> int:
        """Number of frames that were taken and are neither acknowledged nor dropped."""

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame, at once or when there is room. Raises PeerError if the link has failed.

        Args:
            ahead: blobs that the receiver needs with the frame; they are sent right before it.
        """

    def post(self, blob: Blob) -> None:
        """Takes a blob, which is sent in the gaps between frames."""

    async def drain(self) -> None:
        """Waits until every frame is acknowledged or dropped. Raises PeerError if the link has failed."""


class SenderPipeline:
    """Labels the frames of a source, makes blobs of their people, and sends both; the networks run in worker threads.

    The source, which may give no frame for hours, is read in a thread of its own.

    Args:
        stages: make blobs of each frame, in this order.
        workers: threads that pipelines may share.
        durable: frames that are not delivered when the sender stops are kept on disk.
    """

    def __init__(
        self,
        playback: Playback,
        networks: Networks,
        stages: Sequence[BlobStage],
        link: Delivery,
        rate: RateController,
        metrics: SenderMetrics,
        workers: Executor,
        *,
        durable: bool = False,
    ) -> None:
        self._playback = playback
        self._lookahead = Lookahead(networks.semantics.wait(playback.has_time))
        self._labelling = Labelling(networks, stages, metrics, stills=playback.stills)
        self._link = link
        self._rate = rate
        self._metrics = metrics
        self._workers = workers
        self._durable = durable
        self._ahead: list[Blob] = []
        self._failure: SourceError | None = None
        self._making: asyncio.Future[None]

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end; one without an end ends when the sender is stopped."""
        return self._playback.finished

    async def run(self, stop: asyncio.Event) -> None:
        """Sends every frame of a file, or live frames until `stop`; then waits for the last acknowledgement.

        Raises:
            SourceError: the source cannot be read; frames captured before are delivered first.
            PeerError: the link has failed: the receiver cannot be reached again, or refuses the frames.
        """
        stopped = asyncio.create_task(stop.wait())
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="capture") as reader:
            try:
                await self._send_all(reader, stopped)
            finally:
                self._playback.close()
        await self._drain(stopped)
        if self._failure is not None:
            raise self._failure

    async def _send_all(self, reader: Executor, stopped: asyncio.Task[Literal[True]]) -> None:
        following = asyncio.ensure_future(self._next(reader, stopped))
        self._making = asyncio.ensure_future(asyncio.sleep(0))
        try:
            while (ready := await following) is not None:
                # A pace begins when the networks, which take seconds to get ready, have seen a frame.
                if not (waits := self._playback.waits):
                    following = asyncio.ensure_future(self._next(reader, stopped))
                if not await self._send(*ready, stopped):
                    return
                if waits:
                    following = asyncio.ensure_future(self._next(reader, stopped))
            await self._making
            for blob in self._ahead:
                self._link.post(blob)
        finally:
            following.cancel()
            await asyncio.wait((following, self._making))

    async def _next(
        self, reader: Executor, stopped: asyncio.Task[Literal[True]]
    ) -> tuple[Perceived, Sequence[Perceived]] | None:
        """The next frame and the people in it, and the frames after it that are known; None as for `_capture`."""
        loop = asyncio.get_running_loop()
        while (ready := self._lookahead.pop()) is None and not self._lookahead.ended:
            try:
                frame = await self._capture(reader, stopped)
            except SourceError as error:
                self._failure, frame = error, None
            if frame is None:
                self._lookahead.ended = True
            else:
                self._lookahead.push(await loop.run_in_executor(self._workers, self._labelling.perceive, frame))
        return ready

    async def _send(
        self, perceived: Perceived, later: Sequence[Perceived], stopped: asyncio.Task[Literal[True]]
    ) -> bool:
        """Labels a frame and gives it to the link; False if the sender has to stop before the link takes it.

        A picture, or a clip of few frames, has no later frames whose gaps could carry the colours of its people: they
        are made first.  In a stream the labels leave first.
        """
        labels = await asyncio.get_running_loop().run_in_executor(
            self._workers, self._labelling.label, perceived, later
        )
        made = self._playback.brief or self._playback.waits
        if made:
            await self._make_blobs(perceived, labels, urgent=(WEARS, TEXTURE) if self._playback.brief else (WEARS,))
        if self._playback.waits:
            labels = replace(labels, captured_at=self._playback.begin())
        self._rate.on_offered(SYSTEM_CLOCK.monotonic_ms())
        ahead, self._ahead = self._ahead, []
        sending = asyncio.ensure_future(self._link.send(labels, ahead))
        if not made:
            # Those of the frame before may still be under way.
            await self._making
            # What people wear is so small that it never waits for a gap.
            self._making = asyncio.ensure_future(self._make_blobs(perceived, labels, urgent=(WEARS,)))
        await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            sending.cancel()
            return False
        await sending
        return True

    async def _make_blobs(self, perceived: Perceived, labels: LabelFrame, urgent: Sequence[str]) -> None:
        """Makes a frame's blobs and gives them to the link; those of urgent kinds are sent ahead of the next frame."""
        loop, make = asyncio.get_running_loop(), self._labelling.blobs
        for blob in await loop.run_in_executor(self._workers, make, perceived, labels):
            if blob.kind in urgent:
                self._ahead.append(blob)
            else:
                self._link.post(blob)

    async def _capture(self, reader: Executor, stopped: asyncio.Task[Literal[True]]) -> CapturedFrame | None:
        """The next frame; None at the source's end or when the sender has to stop."""
        if stopped.done():
            return None
        reading = asyncio.get_running_loop().run_in_executor(reader, self._playback.read)
        await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            # A live source blocks until its next frame; closing it ends the wait.
            self._playback.close()
        frame = await reading
        return None if stopped.done() else frame

    async def _drain(self, stopped: asyncio.Task[Literal[True]]) -> None:
        """Waits for the last acknowledgement: without a limit at the end of a file, while they come when stopped."""
        draining = asyncio.ensure_future(self._link.drain())
        await asyncio.wait((draining, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not draining.done():
            await self._until_stalled(draining)
        if draining.done():
            await draining
            return
        draining.cancel()
        await asyncio.wait((draining,))
        if self._link.outstanding and not self._durable:
            raise PeerError("the receiver did not acknowledge the last frames before the sender had to stop")

    async def _until_stalled(self, draining: "asyncio.Future[None]") -> None:
        if self._durable:
            await asyncio.wait((draining,), timeout=_DURABLE_DRAIN_TIMEOUT_S)
            return
        outstanding = None
        while not draining.done() and self._link.outstanding != outstanding:
            outstanding = self._link.outstanding
            await asyncio.wait((draining,), timeout=_STALLED_S)
