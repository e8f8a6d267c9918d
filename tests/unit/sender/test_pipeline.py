import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from common.blobs import COLOURS, PICTURE, PREVIEW, Blob
from common.clock import Clock
from common.errors import PeerError, SourceError
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.tracing import FrameTracer, trace_id
from common.labels import GROUPS
from sender.capture.interruptible import DaemonWorker, InterruptibleSource
from sender.capture.source import CapturedFrame, ClosingSource
from sender.metrics import SenderMetrics
from sender.pipeline import SenderPipeline
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.traces import SenderTraces
from tests.support.recorded_spans import RecordedSpans

CAMERA = Camera(8, 8, 10.0)


def captured(sequence: int, source: str = "clip.mp4") -> CapturedFrame:
    return CapturedFrame(sequence, source, 1000.0 + sequence, sequence / 30, np.zeros((8, 8, 3), np.uint8), CAMERA)


class FakeSource:
    """Yields its frames, then ends or raises `failure`."""

    fps: float | None = None

    def __init__(
        self,
        frames: list[CapturedFrame],
        live: bool = False,
        failure: Exception | None = None,
        stills: bool = False,
    ) -> None:
        self.live, self.frames, self.failure, self.stills, self.closed = live, frames, failure, stills, False

    def __iter__(self) -> Iterator[CapturedFrame]:
        yield from self.frames
        if self.failure:
            raise self.failure

    def close(self) -> None:
        self.closed = True


class FakeStage:
    """Perception and semantics in one: one person in every frame, or none if `empty`."""

    def __init__(self, empty: bool = False) -> None:
        self.empty, self.resets = empty, 0

    def reset(self) -> None:
        self.resets += 1

    def process(self, image: object, camera: Camera) -> tuple[()]:
        return ()

    def label(self, observed: object, camera: Camera, time_s: float) -> tuple[PersonLabels, ...]:
        return () if self.empty else (person(),)


class FakeLink:
    def __init__(self) -> None:
        self.sent: list[LabelFrame] = []
        self.blobs: list[Blob] = []
        self.ahead: list[list[Blob]] = []
        self.drained = False
        self.outstanding = 0

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        self.sent.append(frame)
        self.ahead.append(list(ahead))

    def post(self, blob: Blob) -> None:
        self.blobs.append(blob)

    async def drain(self) -> None:
        self.drained = True


class FakeTextureStage:
    """Has an update of identity 7 in every second frame."""

    def __init__(self) -> None:
        self.frames = self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def update(self, image: object, camera: Camera, observed: object, people: object) -> list[Blob]:
        self.frames += 1
        return [Blob(COLOURS, 7, bytes([self.frames]))] if self.frames % 2 == 0 else []

    def of_picture(self, image: object, camera: Camera, observed: object, people: object) -> list[Blob]:
        return [Blob(COLOURS, 8, b"seen")]


def person() -> PersonLabels:
    return PersonLabels(0, 0.9, {group.name: np.ones(group.size, np.float32) for group in GROUPS})


def pipeline_of(source: object, stage: FakeStage, link: FakeLink, **options: object) -> SenderPipeline:
    rate = RateController(RateConfig())
    return SenderPipeline(source, stage, stage, link, rate, SenderMetrics(), **options)  # type: ignore[arg-type]


async def test_every_frame_of_a_file_is_sent_in_order() -> None:
    source, link = FakeSource([captured(index) for index in range(5)]), FakeLink()
    await pipeline_of(source, FakeStage(), link).run(asyncio.Event())
    assert [frame.sequence for frame in link.sent] == [0, 1, 2, 3, 4]
    assert [frame.captured_at for frame in link.sent] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    assert link.drained and source.closed


async def test_frame_without_people_is_sent() -> None:
    link = FakeLink()
    await pipeline_of(FakeSource([captured(0)]), FakeStage(empty=True), link).run(asyncio.Event())
    assert [frame.people for frame in link.sent] == [()]


async def test_new_source_resets_stages() -> None:
    stage = FakeStage()
    source = FakeSource([captured(0, "a.jpg"), captured(1, "b.jpg"), captured(2, "b.jpg")])
    await pipeline_of(source, stage, FakeLink()).run(asyncio.Event())
    assert stage.resets == 2 * 2


async def test_frames_before_source_error_are_sent() -> None:
    source, link = FakeSource([captured(0)], failure=SourceError("clip.mp4 is damaged")), FakeLink()
    with pytest.raises(SourceError, match="damaged"):
        await pipeline_of(source, FakeStage(), link).run(asyncio.Event())
    assert len(link.sent) == 1
    assert source.closed


async def test_stop_ends_live_source_and_drains() -> None:
    stop, link = asyncio.Event(), FakeLink()
    stop.set()
    await pipeline_of(FakeSource([captured(0)], live=True), FakeStage(), link).run(stop)
    assert link.sent == []
    assert link.drained


class StalledSource(FakeSource, ClosingSource):
    """Yields its frames, then blocks, as a pipe does whose writer pauses."""

    fps = 30.0

    def __init__(self, frames: list[CapturedFrame]) -> None:
        super().__init__(frames)
        self.stalled, self.released = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[CapturedFrame]:
        yield from self.frames
        self.stalled.set()
        self.released.wait(timeout=60)


async def test_stop_ends_a_file_that_blocks() -> None:
    stop, link, source = asyncio.Event(), FakeLink(), StalledSource([captured(0)])
    running = asyncio.create_task(
        pipeline_of(InterruptibleSource(source, DaemonWorker("test")), FakeStage(), link).run(stop)
    )
    assert await asyncio.to_thread(source.stalled.wait, 30)
    stop.set()
    async with asyncio.timeout(30):
        await running
    assert len(link.sent) == 1
    assert link.drained
    source.released.set()


class StalledLink(FakeLink):
    """Acknowledges the outstanding frames one after the other, except for the last ones."""

    def __init__(self, outstanding: int, last: int) -> None:
        super().__init__()
        self.outstanding, self._last, self.cancelled = outstanding, last, False

    async def drain(self) -> None:
        try:
            while self.outstanding > self._last:
                await asyncio.sleep(0.01)
                self.outstanding -= 1
            if self.outstanding:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_stop_waits_while_frames_are_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.pipeline._STALLED_S", 0.5)
    link, stop = StalledLink(outstanding=100, last=0), asyncio.Event()
    stop.set()
    await pipeline_of(FakeSource([captured(0)]), FakeStage(), link).run(stop)
    assert link.outstanding == 0
    assert not link.cancelled


@pytest.mark.parametrize("durable", [False, True])
async def test_stop_gives_up_when_no_frame_is_acknowledged(monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    monkeypatch.setattr("sender.pipeline._STALLED_S", 0.1)
    monkeypatch.setattr("sender.pipeline._DURABLE_DRAIN_TIMEOUT_S", 0.1)
    link, stop = StalledLink(outstanding=3, last=1), asyncio.Event()
    stop.set()
    running = pipeline_of(FakeSource([captured(0)]), FakeStage(), link, durable=durable).run(stop)
    if durable:
        await running
    else:
        with pytest.raises(PeerError, match="did not acknowledge the last frames"):
            await running
    assert link.cancelled


async def test_realtime_stamps_frames_when_due() -> None:
    clock = Clock(monotonic=lambda: 50.0, wall=lambda: 2000.0)
    source, link = FakeSource([captured(0)]), FakeLink()
    await pipeline_of(source, FakeStage(), link, realtime=True, clock=clock).run(asyncio.Event())
    assert link.sent[0].captured_at == 2000.0


async def test_media_times_are_those_of_the_file_from_now_on() -> None:
    clock = Clock(monotonic=lambda: 50.0, wall=lambda: 2000.0)
    source, link = FakeSource([replace(captured(n), media_time_s=0.5 * n) for n in range(3)]), FakeLink()
    source.fps = 2.0
    await pipeline_of(source, FakeStage(), link, media_times=True, clock=clock).run(asyncio.Event())
    assert [frame.captured_at for frame in link.sent] == [2000.0, 2000.5, 2001.0]


async def test_preview_shows_every_frame_and_is_timed() -> None:
    class FakePreview:
        def __init__(self) -> None:
            self.shown: list[tuple[int, object]] = []

        def show(self, frame: CapturedFrame, people: object) -> None:
            self.shown.append((frame.sequence, people))

    preview, metrics, stage, link = FakePreview(), SenderMetrics(), FakeStage(), FakeLink()
    source, rate = FakeSource([captured(index) for index in range(3)]), RateController(RateConfig())
    await SenderPipeline(
        source,  # type: ignore[arg-type]
        stage,  # type: ignore[arg-type]
        stage,  # type: ignore[arg-type]
        link,
        rate,
        metrics,
        preview=preview,  # type: ignore[arg-type]
    ).run(asyncio.Event())
    assert preview.shown == [(0, ()), (1, ()), (2, ())]
    assert metrics.registry.get_sample_value("bodywire_sender_stage_seconds_count", {"stage": "preview"}) == 3
    assert len(link.sent) == 3


async def test_stages_of_each_frame_are_counted_and_traced() -> None:
    metrics, stage, sink = SenderMetrics(), FakeStage(), RecordedSpans()
    source, rate = FakeSource([captured(index) for index in range(2)]), RateController(RateConfig())
    await SenderPipeline(
        source,  # type: ignore[arg-type]
        stage,  # type: ignore[arg-type]
        stage,  # type: ignore[arg-type]
        FakeLink(),
        rate,
        metrics,
        traces=SenderTraces(FrameTracer("sender", sink), bytes(16)),
    ).run(asyncio.Event())
    assert metrics.registry.get_sample_value("bodywire_sender_frames_total", {"fate": "offered"}) == 2
    assert [span.name for span in sink.spans] == ["capture", "perception", "semantics"] * 2
    assert [span.trace_id for span in sink.spans] == [trace_id(bytes(16), index) for index in (0, 0, 0, 1, 1, 1)]


async def test_colours_are_posted_and_new_source_resets_texture_stage() -> None:
    link, texture_stage = FakeLink(), FakeTextureStage()
    frames = [captured(number, f"{number // 3}.mp4") for number in range(6)]
    await pipeline_of(FakeSource(frames), FakeStage(), link, texture_stage=texture_stage).run(asyncio.Event())
    assert link.blobs == [Blob(COLOURS, 7, bytes([number])) for number in (2, 4, 6)]
    assert texture_stage.resets == 2


def still(sequence: int) -> CapturedFrame:
    return captured(sequence, f"{sequence}.jpg")


async def test_colours_of_a_picture_are_sent_ahead_of_it() -> None:
    link, texture_stage = FakeLink(), FakeTextureStage()
    source = FakeSource([still(0), still(1)], stills=True)
    await pipeline_of(source, FakeStage(), link, texture_stage=texture_stage).run(asyncio.Event())
    assert link.ahead == [[Blob(COLOURS, 8, b"seen")]] * 2
    assert link.blobs == [] and texture_stage.frames == 0


async def test_pictures_are_not_skipped_when_a_spool_is_resumed() -> None:
    """Sequence numbers of earlier runs belong to other pictures."""
    link = FakeLink()
    pipeline = pipeline_of(FakeSource([still(0), still(1)], stills=True), FakeStage(), link, first_sequence=5)
    assert pipeline.finished
    await pipeline.run(asyncio.Event())
    assert [(frame.sequence, frame.source) for frame in link.sent] == [(5, "0.jpg"), (6, "1.jpg")]


class FakeSharedPreview:
    """Has a picture of every second frame."""

    def __init__(self) -> None:
        self.asked = 0

    def of(self, image: object) -> bytes | None:
        self.asked += 1
        return b"small" if self.asked % 2 else None


class FakeSharedPictures:
    """Has a picture of the first frame."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def reset(self) -> None: ...

    def of(self, image: object, captured_at: float, observed: object, people: object) -> list[Blob]:
        self.times.append(captured_at)
        return [Blob(PICTURE, 7, b"sharp")] if len(self.times) == 1 else []


async def test_shared_pictures_are_posted_with_the_time_of_their_frame() -> None:
    link, pictures = FakeLink(), FakeSharedPictures()
    frames = [captured(index) for index in range(3)]
    await pipeline_of(FakeSource(frames), FakeStage(), link, shared_pictures=pictures).run(asyncio.Event())
    assert link.blobs == [Blob(PICTURE, 7, b"sharp")]
    assert pictures.times == [frame.captured_at for frame in frames]


async def test_shared_preview_is_posted_when_it_is_due() -> None:
    link = FakeLink()
    source = FakeSource([captured(index) for index in range(4)])
    await pipeline_of(source, FakeStage(), link, shared_preview=FakeSharedPreview()).run(asyncio.Event())
    assert link.blobs == [Blob(PREVIEW, 0, b"small")] * 2
    assert link.ahead == [[]] * 4
