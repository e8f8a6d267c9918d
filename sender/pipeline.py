"""The sender's pipeline.

    capture ─ perception ─ semantics ─ [ importance ─ rate ─ codec ] ─ link
                               │         when the frame leaves           │
                               └─ colours of people's surface ─ blobs ───┘

What is in brackets runs in `sender.rated_encoder`, which the link calls.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, Protocol

from common.blobs import PREVIEW, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import PeerError, SourceError
from common.frames import LabelFrame, PersonLabels
from sender.capture.source import CapturedFrame, FrameSource
from sender.clothing.stage import ClothingStage
from sender.jscc.stage import JsccStage
from sender.metrics import DropReason, SenderMetrics
from sender.perception.stage import ObservedPerson, PerceptionStage
from sender.preview.key_picture import SharedPictures
from sender.preview.open import Preview
from sender.preview.share import SharedPreview
from sender.rate.controller import RateController
from sender.semantics.stage import SemanticsStage
from sender.texture.stage import TextureStage
from sender.traces import SenderTraces

# A sender that has to stop waits for unacknowledged frames as long as one is acknowledged in this time.
_STALLED_S = 1.5
# Frames in a spool, which may be many, are not lost by stopping.
_DURABLE_DRAIN_TIMEOUT_S = 1.5


class Delivery(Protocol):
    """Where the pipeline's frames go: the link itself, or a spool in front of it."""

    @property
    def outstanding(self) -> int:
        """Number of frames that were taken and are neither acknowledged nor dropped."""

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame, at once or when there is room. Raises PeerError if the link has failed.

        Args:
            ahead: blobs that the receiver needs with the frame.
        """

    def post(self, blob: Blob) -> None:
        """Takes a blob, which is sent in the gaps between frames."""

    async def drain(self) -> None:
        """Waits until every frame is acknowledged or dropped. Raises PeerError if the link has failed."""


class SenderPipeline:
    """Runs a source through perception and semantics into the link; the networks run in worker threads.

    Args:
        link: where frames and blobs go.
        first_sequence: of the next frame; frames of a file before it were taken by an earlier run and are skipped.
        durable: frames that are not delivered when the sender stops are kept on disk.
        realtime: play a file at its own pace.
        media_times: a frame of a video file was captured at its time in the file, counted from now on.
        preview: shows each frame with perception's output.
        clothing_stage: reads people's clothes and hair; no `surface` labels are sent without it.
        texture_stage: learns the colours of people's surface; none are sent without it.
        shared_preview: makes small pictures for the receiver; none are sent without it.
        shared_pictures: makes a key picture of each person for the receiver; none are sent without it.
        analogue: sends pictures over a simulated channel; none are sent without it.
        traces: records how long the stages of a frame took.
    """

    def __init__(
        self,
        source: FrameSource,
        perception: PerceptionStage,
        semantics: SemanticsStage,
        link: Delivery,
        rate: RateController,
        metrics: SenderMetrics,
        *,
        first_sequence: int = 0,
        durable: bool = False,
        realtime: bool = False,
        media_times: bool = False,
        preview: Preview | None = None,
        clothing_stage: ClothingStage | None = None,
        texture_stage: TextureStage | None = None,
        shared_preview: SharedPreview | None = None,
        shared_pictures: SharedPictures | None = None,
        analogue: JsccStage | None = None,
        traces: SenderTraces | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._source = source
        self._perception = perception
        self._semantics = semantics
        self._link = link
        self._rate = rate
        self._metrics = metrics
        # Frames that an earlier run has taken come again.
        self._rewinds = not (source.live or source.stills)
        self._realtime = realtime and self._rewinds
        self._media_began_at = clock.wall() if media_times and source.fps is not None else None
        self._preview = preview
        self._clothing_stage = clothing_stage
        self._texture_stage = texture_stage
        self._shared_preview = shared_preview
        # A picture with people in it is no session whose people stay.
        self._shared_pictures = None if source.stills else shared_pictures
        self._analogue = analogue
        self._traces = traces or SenderTraces()
        self._read_s = (0.0, 0.0)
        self._clock = clock
        self._sequence = first_sequence
        self._durable = durable
        self._ended = False
        self._last_source = ""
        self._began_s: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end; one without an end ends when the sender is stopped."""
        return self._ended or self._source.live or self._source.stills

    async def run(self, stop: asyncio.Event) -> None:
        """Sends every frame of a file, or live frames until `stop`; then waits for the last acknowledgement.

        Raises:
            SourceError: the source cannot be read; frames captured before are delivered first.
            PeerError: the link has failed: the receiver cannot be reached again, or refuses the frames.
        """
        stopped = asyncio.create_task(stop.wait())
        failure: SourceError | None = None
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="frame") as workers:
            try:
                await self._send_all(iter(self._source), workers, stopped)
            except SourceError as error:
                failure = error
            finally:
                self._source.close()
        await self._drain(stopped)
        if failure is not None:
            raise failure

    async def _send_all(
        self, frames: Iterator[CapturedFrame], workers: ThreadPoolExecutor, stopped: asyncio.Task[Literal[True]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while (frame := await self._capture(frames, workers, stopped)) is not None:
            if self._rewinds and frame.sequence < self._sequence:
                continue
            frame = await self._pace(frame)
            labels, blobs = await loop.run_in_executor(workers, self._label, frame)
            # A picture has no later frame whose gaps could carry the colours of its people.
            ahead, later = (blobs, []) if self._source.stills else ([], blobs)
            for blob in later:
                self._link.post(blob)
            self._rate.on_offered(self._clock.monotonic_ms())
            sending = asyncio.ensure_future(self._link.send(labels, ahead))
            await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                return
            await sending

    async def _capture(
        self, frames: Iterator[CapturedFrame], workers: ThreadPoolExecutor, stopped: asyncio.Task[Literal[True]]
    ) -> CapturedFrame | None:
        """The next frame; None at the source's end or when the sender has to stop."""
        if stopped.done():
            return None
        reading = asyncio.get_running_loop().run_in_executor(workers, self._read, frames)
        await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            # A live source blocks until its next frame; closing it ends the wait.
            self._source.close()
        frame = await reading
        if stopped.done():
            return None
        self._ended = frame is None
        return frame

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

    def _read(self, frames: Iterator[CapturedFrame]) -> CapturedFrame | None:
        began_s = self._clock.wall()
        with self._metrics.stage("capture"):
            frame = next(frames, None)
        # A live frame may have waited to be taken, and a read of a live source waits for the next frame.
        self._read_s = (frame.captured_at if frame and self._source.live else began_s), self._clock.wall()
        return frame

    async def _pace(self, frame: CapturedFrame) -> CapturedFrame:
        """In real time, waits until the frame is due and stamps it with that moment."""
        if not self._realtime:
            if self._media_began_at is None:
                return frame
            return replace(frame, captured_at=self._media_began_at + frame.media_time_s)
        if self._began_s is None:
            self._began_s = self._clock.monotonic() - frame.media_time_s
        await asyncio.sleep(max(0.0, self._began_s + frame.media_time_s - self._clock.monotonic()))
        return replace(frame, captured_at=self._clock.wall())

    def _label(self, frame: CapturedFrame) -> tuple[LabelFrame, list[Blob]]:
        """Perception, semantics and texture of one frame; a frame without people is sent too."""
        if frame.source != self._last_source:
            self._reset()
            self._last_source = frame.source
        self._traces.captured(self._sequence, *self._read_s)
        with self._metrics.stage("perception"), self._traces.stage(self._sequence, "perception"):
            observed = self._perception.process(frame.image, frame.camera)
        if self._preview is not None:
            with self._metrics.stage("preview"):
                self._preview.show(frame, observed)
        with self._metrics.stage("semantics"), self._traces.stage(self._sequence, "semantics"):
            people = self._semantics.label(observed, frame.camera, frame.media_time_s)
            people = self._dressed(frame, observed, people)
        if not people:
            self._metrics.frame_dropped(DropReason.EMPTY)
        self._metrics.frame_offered(people)
        blobs = self._colours(frame, observed, people) + self._picture(frame)
        blobs += self._key_pictures(frame, observed, people)
        if self._analogue is not None:
            blobs += self._analogue.update(self._sequence, frame, observed)
        labels = LabelFrame(self._sequence, frame.source, frame.captured_at, frame.camera, people)
        self._sequence += 1
        return labels, blobs

    def _dressed(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: tuple[PersonLabels, ...]
    ) -> tuple[PersonLabels, ...]:
        """The people with their `surface` labels."""
        if self._clothing_stage is None:
            return people
        read = self._clothing_stage.of_picture if self._source.stills else self._clothing_stage.update
        return read(frame.image, frame.camera, observed, people)

    def _picture(self, frame: CapturedFrame) -> list[Blob]:
        if self._shared_preview is None:
            return []
        with self._metrics.stage("preview"):
            jpeg = self._shared_preview.of(frame.image)
        return [Blob(PREVIEW, 0, jpeg)] if jpeg else []

    def _key_pictures(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        if self._shared_pictures is None:
            return []
        with self._metrics.stage("preview"):
            return self._shared_pictures.of(frame.image, frame.captured_at, observed, people)

    def _reset(self) -> None:
        """Forgets the people of the last source."""
        self._perception.reset()
        self._semantics.reset()
        if self._clothing_stage is not None:
            self._clothing_stage.reset()
        if self._texture_stage is not None:
            self._texture_stage.reset()
        if self._shared_pictures is not None:
            self._shared_pictures.reset()
        if self._analogue is not None:
            self._analogue.reset()

    def _colours(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        if self._texture_stage is None:
            return []
        colours_of = self._texture_stage.of_picture if self._source.stills else self._texture_stage.update
        with self._metrics.stage("colours"):
            return colours_of(frame.image, frame.camera, observed, people)
