import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import cv2
import numpy as np
import pytest

from common.blobs import TEXTURE, WEARS, Blob
from common.clock import Clock
from common.errors import PeerError, SourceError
from common.frames import Camera, LabelFrame
from common.labels import GROUPS
from sender.capture.source import CapturedFrame, FrameSource
from sender.labelling import Labelling, Networks
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.people.view import PeopleView, PersonView
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.pipeline import SenderPipeline
from sender.playback import Playback
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig

CAMERA = Camera(8, 8, 10.0)


def captured(sequence: int, source: str = "clip.mp4") -> CapturedFrame:
    return CapturedFrame(sequence, source, 1000.0 + sequence, sequence / 30, np.zeros((8, 8, 3), np.uint8), CAMERA)


class FakeSource:
    """Yields its frames, then ends or raises `failure`."""

    fps: float | None = None
    length: int | None = None
    brief = FrameSource.brief

    def __init__(
        self, frames: list[CapturedFrame], live: bool = False, failure: Exception | None = None, stills: bool = False
    ) -> None:
        self.live, self.frames, self.failure, self.stills, self.closed = live, frames, failure, stills, False
        self.ends = not live

    def __iter__(self) -> Iterator[CapturedFrame]:
        yield from self.frames
        if self.failure:
            raise self.failure

    def close(self) -> None:
        self.closed = True


class FakeNetworks:
    """Perception, semantics and a reader of hands: one person in every frame, or none if `empty`."""

    part = "hands"

    def __init__(self, empty: bool = False, smooths: bool = True) -> None:
        self.empty, self.smooths, self.resets, self.known = empty, smooths, 0, ()
        self.later_s, self.log = 0.0, list[tuple[str, float]]()
        self.times: list[float | None] = []

    def wait(self, later: bool) -> float:
        return self.later_s if later else 0.0

    def reset(self, *, still: bool = True) -> None:
        self.resets += 1

    def forget(self) -> None:
        self.log.append(("forgotten", 0.0))

    def process(self, image: object, camera: Camera, time_s: float | None, **how: bool) -> tuple[float | None]:
        self.times.append(time_s if how["take_turns"] else None)
        return (self.times[-1],)

    def label(self, view: PeopleView) -> None:
        """Of hands: nothing."""

    def observe(self, _seen: object, _camera: Camera, time_s: float) -> None:
        self.log.append(("observed", time_s))

    def label_observed(self, observed: tuple[float | None], _camera: Camera, *times_s: float) -> list[PersonView]:
        """Of semantics: the people."""
        time_s = times_s[0]
        self.log.append(("labelled", time_s))
        if not observed:
            return []
        (seen,) = observed
        assert seen == (time_s if self.smooths else None)
        return [] if self.empty else [person()]


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


class FakeBlobStage:
    """Has a blob in every second frame; remembers sequence and people of all."""

    def __init__(self, timed_as: str | None = "colours") -> None:
        self.timed_as, self.frames, self.begins = timed_as, list[tuple[int, int]](), 0

    def update(self, perceived: Perceived, people: Sequence[object]) -> list[Blob]:
        assert people or not perceived.observed, "nobody has labels"
        self.frames.append((perceived.frame.sequence, len(people)))
        self.begins += perceived.begins
        return [Blob(TEXTURE, 7, bytes([perceived.frame.sequence]))] if len(self.frames) % 2 == 0 else []


def person() -> PersonView:
    seen = ObservedPerson(TrackedPerson(0), 0.9, CropBox(0, 0, 8), cast(Any, None))
    return PersonView(seen, {group.name: np.ones(group.size, np.float32) for group in GROUPS})


def pipeline_of(
    source: object,
    link: FakeLink,
    *stages: FakeBlobStage,
    networks: FakeNetworks | None = None,
    metrics: SenderMetrics | None = None,
    durable: bool = False,
    workers: ThreadPoolExecutor | None = None,
) -> SenderPipeline:
    metrics, networks = metrics or SenderMetrics(), networks or FakeNetworks()
    return SenderPipeline(
        Playback(source, metrics),  # type: ignore[arg-type]
        Networks(networks, networks, [networks]),  # type: ignore[arg-type]
        stages,
        link,
        RateController(RateConfig()),
        metrics,
        workers or ThreadPoolExecutor(3),
        durable=durable,
    )


async def test_every_frame_of_a_file_is_sent_in_order() -> None:
    source, link = FakeSource([captured(index) for index in range(5)]), FakeLink()
    await pipeline_of(source, link).run(asyncio.Event())
    assert [frame.sequence for frame in link.sent] == [0, 1, 2, 3, 4]
    assert [frame.captured_at for frame in link.sent] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    assert link.drained and source.closed


async def test_frame_without_people_is_sent() -> None:
    link = FakeLink()
    await pipeline_of(FakeSource([captured(0)]), link, networks=FakeNetworks(empty=True)).run(asyncio.Event())
    assert [frame.people for frame in link.sent] == [()]


async def test_new_source_resets_stages() -> None:
    networks, stage = FakeNetworks(), FakeBlobStage()
    source = FakeSource([captured(0, "a.jpg"), captured(1, "b.jpg"), captured(2, "b.jpg")])
    await pipeline_of(source, FakeLink(), stage, networks=networks).run(asyncio.Event())
    assert networks.resets == stage.begins == 2


async def test_without_smoothing_views_take_no_turns() -> None:
    networks = FakeNetworks(smooths=False)
    await pipeline_of(FakeSource([captured(0)]), FakeLink(), networks=networks).run(asyncio.Event())
    assert networks.times == [None]


class WaitingNetworks(FakeNetworks):
    """Label no frame before the next one is perceived; the last one has no next."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self._perceived = [threading.Event() for _ in range(frames)]

    def process(self, image: object, camera: Camera, time_s: float | None, **how: bool) -> tuple[float | None]:
        self._perceived[len(self.times)].set()
        return super().process(image, camera, time_s, **how)

    def label_observed(self, observed: tuple[float | None], camera: Camera, *times_s: float) -> list[PersonView]:
        following = round(30 * times_s[0]) + 1
        assert self._perceived[min(following, len(self._perceived) - 1)].wait(timeout=30)
        return super().label_observed(observed, camera, *times_s)


async def test_next_frame_is_perceived_while_one_is_labelled() -> None:
    networks, link = WaitingNetworks(frames=4), FakeLink()
    await pipeline_of(FakeSource([captured(index) for index in range(4)]), link, networks=networks).run(asyncio.Event())
    assert len(networks.times) == 4 and [frame.sequence for frame in link.sent] == [0, 1, 2, 3]


class FullLink(FakeLink):
    """Never has room for a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_stop_ends_a_source_that_blocks_while_the_link_is_full() -> None:
    stop, link, source = asyncio.Event(), FullLink(), StalledSource([captured(0)])
    running = asyncio.create_task(pipeline_of(source, link).run(stop))
    async with asyncio.timeout(30):
        await link.asked.wait()
        assert await asyncio.to_thread(source.stalled.wait, 30)
        stop.set()
        await running


async def test_frames_before_source_error_are_sent() -> None:
    source, link = FakeSource([captured(0)], failure=SourceError("clip.mp4 is damaged")), FakeLink()
    with pytest.raises(SourceError, match="damaged"):
        await pipeline_of(source, link).run(asyncio.Event())
    assert len(link.sent) == 1
    assert source.closed


class StalledSource(FakeSource, FrameSource):
    """Yields its frames, then blocks until it is closed, as a camera does that hangs."""

    fps = 30.0

    def __init__(self, frames: list[CapturedFrame]) -> None:
        super().__init__(frames)
        self.stalled, self.released = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[CapturedFrame]:
        yield from self.frames
        self.stalled.set()
        self.released.wait(timeout=60)

    def close(self) -> None:
        self.released.set()


async def test_source_that_waits_holds_up_no_other_pipeline() -> None:
    stop, stalled, link, workers = asyncio.Event(), StalledSource([]), FakeLink(), ThreadPoolExecutor(1)
    waiting = asyncio.create_task(pipeline_of(stalled, FakeLink(), workers=workers).run(stop))
    assert await asyncio.to_thread(stalled.stalled.wait, 30)
    async with asyncio.timeout(30):
        await pipeline_of(FakeSource([captured(0)]), link, workers=workers).run(asyncio.Event())
        stop.set()
        await waiting
    assert len(link.sent) == 1


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
    await pipeline_of(FakeSource([captured(0)]), link).run(stop)
    assert link.outstanding == 0
    assert not link.cancelled


@pytest.mark.parametrize("durable", [False, True])
async def test_stop_gives_up_when_no_frame_is_acknowledged(monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    monkeypatch.setattr("sender.pipeline._STALLED_S", 0.1)
    monkeypatch.setattr("sender.pipeline._DURABLE_DRAIN_TIMEOUT_S", 0.1)
    link, stop = StalledLink(outstanding=3, last=1), asyncio.Event()
    stop.set()
    running = pipeline_of(FakeSource([captured(0)]), link, durable=durable).run(stop)
    if durable:
        await running
    else:
        with pytest.raises(PeerError, match="did not acknowledge the last frames"):
            await running
    assert link.cancelled


async def test_stages_take_every_frame_and_are_timed() -> None:
    link, metrics, stages = FakeLink(), SenderMetrics(), (FakeBlobStage("preview"), FakeBlobStage(None))
    source = FakeSource([captured(index) for index in range(4)])
    await pipeline_of(source, link, *stages, metrics=metrics).run(asyncio.Event())
    assert [stage.frames for stage in stages] == [[(index, 1) for index in range(4)]] * 2
    assert link.blobs == [Blob(TEXTURE, 7, bytes([number])) for number in (1, 1, 3, 3)] and link.ahead == [[]] * 4
    passes = {"capture": 5, "perception": 4, "semantics": 4, "preview": 4, "colours": 0, "channel": 0}
    for stage, count in passes.items():
        assert metrics.registry.get_sample_value("bodywire_sender_stage_seconds_count", {"stage": stage}) == count
    assert metrics.registry.get_sample_value("bodywire_sender_frames_total", {"fate": "offered"}) == 4


async def test_the_labels_of_a_stream_leave_before_its_blobs_are_made_and_wears_goes_ahead_of_the_next() -> None:
    link = FakeLink()

    class WatchingStage(FakeBlobStage):
        def update(self, perceived: Perceived, people: Sequence[object]) -> list[Blob]:
            sent_before.append(len(link.sent))
            return [Blob(WEARS, 7, bytes([perceived.frame.sequence])), Blob(TEXTURE, 7, b"c")]

    sent_before: list[int] = []
    await pipeline_of(FakeSource([captured(0), captured(1)]), link, WatchingStage()).run(asyncio.Event())
    assert sent_before == [1, 2]
    assert link.ahead == [[], [Blob(WEARS, 7, b"\x00")]]
    assert link.blobs == [Blob(TEXTURE, 7, b"c")] * 2 + [Blob(WEARS, 7, b"\x01")], "no frame follows the last"


async def test_blobs_of_a_clip_of_few_frames_are_sent_ahead_of_the_frame_that_shows_them() -> None:
    class Clip(FakeSource):
        length = 2

    link = FakeLink()
    await pipeline_of(Clip([captured(0), captured(1)]), link, FakeBlobStage()).run(asyncio.Event())
    assert link.ahead == [[], [Blob(TEXTURE, 7, b"\x01")]] and link.blobs == []
    assert link.sent[0].source == link.sent[1].source, "its people go on"


def still(sequence: int) -> CapturedFrame:
    return captured(sequence, f"{sequence}.jpg")


async def test_blobs_of_a_picture_are_sent_ahead_of_it() -> None:
    link, networks = FakeLink(), FakeNetworks()
    # Two files of a glob may have one name.
    source = FakeSource([still(0), captured(1, still(0).source)], stills=True)
    await pipeline_of(source, link, FakeBlobStage(), networks=networks).run(asyncio.Event())
    assert link.ahead == [[], [Blob(TEXTURE, 7, b"\x01")]] and link.blobs == []
    assert networks.resets == 2, "each shows people of its own"


async def test_pace_of_a_file_begins_when_the_networks_have_seen_a_frame() -> None:
    """They take 20 s for the first one, and no time for the others."""

    class Clip(FakeSource):
        fps = 30.0

    class SlowNetworks(FakeNetworks):
        def label(self, view: PeopleView) -> None:
            if not link.sent:
                now_s[0] += 20.0

    class FirstBlobs(FakeBlobStage):
        def update(self, perceived: Perceived, people: Sequence[object]) -> list[Blob]:
            sent_before.append(len(link.sent))
            return super().update(perceived, people)

    link, now_s, sent_before, networks, metrics = FakeLink(), [100.0], list[int](), SlowNetworks(), SenderMetrics()
    clock = Clock(lambda: now_s[0], lambda: 1e9 + now_s[0])
    playback = Playback(
        Clip([captured(index) for index in range(3)]),  # type: ignore[arg-type]
        metrics,
        realtime=True,
        skips_late=True,
        clock=clock,
    )
    rate, workers = RateController(RateConfig()), ThreadPoolExecutor(3)
    fakes = Networks(networks, networks, [networks])  # type: ignore[arg-type]
    await SenderPipeline(playback, fakes, [FirstBlobs()], link, rate, metrics, workers).run(asyncio.Event())
    assert [frame.captured_at for frame in link.sent] == pytest.approx([1e9 + 120 + n / 30 for n in range(3)])
    assert metrics.left_out == 0 and sent_before[0] == 0


@pytest.mark.parametrize(
    ("part", "method", "people", "blobs"),
    [
        ("perception", "process", 0, 2),
        ("semantics", "label_observed", 0, 2),
        ("hands", "label", 1, 2),
        ("colours", "update", 1, 0),
    ],
)
def test_frames_go_on_without_what_fails(
    part: str, method: str, people: int, blobs: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("an empty \x1b map")

    networks, stage, metrics = FakeNetworks(), FakeBlobStage(), SenderMetrics()
    monkeypatch.setattr(stage if part == "colours" else networks, method, fail)
    labelling = Labelling(Networks(networks, networks, [networks]), [stage], metrics)  # type: ignore[arg-type]
    perceived = [labelling.perceive(captured(index)) for index in range(4)]
    labels = [labelling.label(each) for each in perceived]
    made = [blob for each in zip(perceived, labels, strict=True) for blob in labelling.blobs(*each)]
    assert [len(frame.people) for frame in labels] == [people] * 4 and len(made) == blobs
    assert metrics.failures == {part: 4}
    assert networks.log.count(("forgotten", 0.0)) == 4 * (part == "semantics")
    assert metrics.registry.get_sample_value("bodywire_sender_part_failures_total", {"part": part}) == 4
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert line.startswith(f"{part} failed at a frame, which goes on without: error: ") and "\x1b" not in line
