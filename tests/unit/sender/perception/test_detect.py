from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import Box, ByteArray, FloatArray, Image
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from common.weights.loader import load_recorded
from sender.capture.open import DEMO_CLIP
from sender.capture.video import VideoFileSource
from sender.config import Quality
from sender.perception.crop import View
from sender.perception.detect import (
    KIND,
    LETTERBOX_GREY,
    WEIGHTS_NAME,
    Detector,
    NanoDetConfig,
    NanoDetNet,
    SearchSchedule,
    letterboxed,
)
from sender.perception.keypoint_fusion import SecondOpinion
from sender.perception.perception_network import FusedOutput, PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, people_carried, predict_in_boxes, reads_fast

TINY = NanoDetConfig(size=64, width=8, pyramid=8)
NOISE: Image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)


def tiny_detector(config: NanoDetConfig = TINY) -> tuple[Detector, list[tuple[int, int]]]:
    """One that proposes every cell of an untrained network, and the shapes of the frames that it reads."""
    torch.manual_seed(1)
    net, shapes = NanoDetNet(config), list[tuple[int, int]]()

    def note(_: NanoDetNet, inputs: Sequence[Tensor]) -> None:
        height, width = inputs[0].shape[1:3]
        shapes.append((height, width))

    net.register_forward_pre_hook(note)
    network = NetworkInUse(net.eval(), "float32", CPU)
    return Detector(config, lambda *_: network, threshold=0.0), shapes


@pytest.mark.parametrize("roll", [0.45, -0.3])
@pytest.mark.parametrize("shape", [(480, 640), (640, 360)])
def test_frame_of_a_rolled_camera_is_turned_upright(shape: tuple[int, int], roll: float) -> None:
    frame = np.full((*shape, 3), LETTERBOX_GREY, dtype=np.uint8)
    middle = np.array([0.6 * shape[1], 0.4 * shape[0]])
    axes = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    corners = middle + np.array([[-30, -80], [30, -80], [30, 80], [-30, 80]]) @ axes.T
    cv2.fillPoly(frame, [np.round(corners).astype(np.int32)], (255, 255, 255))
    square, letterbox = letterboxed(frame, (320, 320), roll)
    rows, columns = (np.flatnonzero((square > 200).any(axis=axes)) for axes in ((1, 2), (0, 2)))
    box = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]) / 320
    x, y = middle
    expected = torch.tensor([[x - 30, y - 80, x + 30, y + 80]], dtype=torch.float32)
    assert torch.allclose(letterbox.to_pixels(box), expected, atol=1.5 / letterbox.scale)


@pytest.mark.parametrize(
    ("frame", "roll", "read"),
    [
        ((90, 160), 0.0, (256, 416)),
        ((1080, 2400), 0.0, (256, 416)),
        ((480, 640), 0.0, (320, 416)),
        ((640, 480), 0.0, (416, 320)),
        ((500, 480), 0.0, (416, 416)),
        ((90, 160), 0.3, (416, 416)),
    ],
)
def test_frame_is_read_in_a_shape_like_its_own(frame: tuple[int, int], roll: float, read: tuple[int, int]) -> None:
    detector, shapes = tiny_detector(NanoDetConfig(width=8, pyramid=8))
    detector.find(np.zeros((*frame, 3), np.uint8), roll)
    assert shapes == [read]


def test_thorough_look_reads_a_larger_frame_too() -> None:
    detector, shapes = tiny_detector()
    found = detector.find(NOISE, thorough=True)
    assert sorted(shapes) == [(32, 64), (64, 96)]  # side by side: in either order
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_find_clips_boxes_to_frame() -> None:
    detector, _ = tiny_detector()
    boxes = np.stack([detection.box for detection in detector.find(NOISE)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [161, 91]).all() and (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.fixture(scope="module")
def frame() -> Image:
    """Of the demo clip, which shows one person."""
    with VideoFileSource(DEMO_CLIP) as source:
        return next(iter(source)).image


def eager_detector() -> Detector:
    net = load_recorded(WEIGHTS_NAME, KIND, NanoDetConfig, NanoDetNet)
    return Detector(net.config, lambda *_: NetworkInUse(net.eval(), "float32", CPU))


def test_shipped_network_proposes_the_person_as_compiled_and_by_pytorch(frame: Image) -> None:
    compiled, eager = (detector.find(frame)[0] for detector in (Detector.load(), eager_detector()))
    assert compiled.score > 0.5 and eager.score > 0.5
    np.testing.assert_allclose(compiled.box, eager.box, atol=float(0.03 * np.ptp(eager.box[1::2])))


PERSON = np.array([100, 100, 200, 400], np.float32)
RNG = np.random.default_rng(7)
ROOM = np.repeat(RNG.integers(40, 200, (48, 64, 1), np.uint8), 3, axis=2).repeat(10, 0).repeat(10, 1)


def searched(schedule: SearchSchedule, images: list[Image], boxes: list[Box], first_s: float = 1.0) -> list[bool]:
    """Of frames that are 0.15 s apart."""
    return [schedule.searches(image, boxes, first_s + 0.15 * frame) for frame, image in enumerate(images)]


def with_box(image: Image, box: Box, level: int) -> Image:
    x0, y0, x1, y1 = box.astype(int)
    changed = image.copy()
    changed[y0:y1, x0:x1] = level
    return changed


def noisy(image: Image) -> Image:
    return np.clip(image + RNG.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("fps", [5, 30, 240])
def test_searches_are_as_frequent_at_any_frame_rate(fps: int) -> None:
    schedule, dark = SearchSchedule(), with_box(ROOM, PERSON + 250, 0)
    images = (dark if int(2 * frame / fps) % 2 else ROOM for frame in range(12 * fps))
    searches = [schedule.searches(image, [PERSON], frame / fps) for frame, image in enumerate(images)]
    assert sum(searches) == pytest.approx(24, abs=5)


@pytest.mark.parametrize(("fps", "searched"), [(5, 5), (30, 30), (240, 30)])
def test_urgent_searches_do_not_follow_each_other_faster_than_usual_frames(fps: int, searched: int) -> None:
    for boxes in ([], [PERSON]):
        schedule = SearchSchedule()
        searches = [schedule.searches(ROOM, boxes, frame / fps, urgent=True) for frame in range(fps)]
        assert searches[0] and sum(searches) == pytest.approx(searched, abs=3)


def test_still_scene_is_searched_rarely_once_somebody_is_followed() -> None:
    assert sum(searched(SearchSchedule(), [noisy(ROOM) for _ in range(30)], [PERSON])) == 1 + 14 // 4


def test_known_people_who_move_and_light_that_changes_are_no_reason() -> None:
    images = [with_box(ROOM, PERSON + frame % 7, frame) for frame in range(40)]
    images += [image + np.uint8(3 * frame) for frame, image in enumerate(images[:18])]
    assert sum(searched(SearchSchedule(), images, [PERSON])) == 1 + (len(images) // 2 - 1) // 4


def test_somebody_who_comes_is_searched_for_at_once() -> None:
    schedule = SearchSchedule()
    still = searched(schedule, [ROOM] * 8, [PERSON])
    newcomer = np.array([560, 200, 600, 280], np.float32)
    coming = [
        with_box(ROOM, newcomer - np.float32(4 * frame) * np.array([1, 0, 1, 0], np.float32), 20) for frame in range(20)
    ]
    assert sum(still) == 1 and sum(searched(schedule, coming, [PERSON], 2.2)) == 10


CAPACITY_TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.mark.parametrize(
    ("times_s", "cameras", "people"),
    [((0.5, 0.3, 0.4), 1, 1), ((0.9, 0.07, 0.9), 1, 2), ((0.9, 0.07, 0.9), 2, 1), ((1e-3,) * 3, 20, 4)],
)
def test_as_many_people_as_the_fastest_of_several_looks_permits(
    monkeypatch: pytest.MonkeyPatch, times_s: Sequence[float], cameras: int, people: int
) -> None:
    now_s, left = 0.0, list(times_s)

    class TimedPerception(Perception):
        def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
            nonlocal now_s
            now_s += left.pop(0)
            return super().observe(crops, view)

    monkeypatch.setattr("sender.perception.read.time.perf_counter", lambda: now_s)
    assert people_carried(TimedPerception(PerceptionNet(CAPACITY_TINY)), cameras) == people and not left


@pytest.mark.parametrize(
    ("quality", "movenet_s", "fast"),
    [("auto", 0.02, False), ("auto", 0.03, True), ("full", 1.0, False), ("fast", 0.001, True)],
)
def test_videos_are_read_fast_where_both_networks_take_a_core_long(
    monkeypatch: pytest.MonkeyPatch, quality: Quality, movenet_s: float, fast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    now_s, looks = 0.0, list[str]()

    def takes(what: str, seconds: float) -> None:
        nonlocal now_s
        looks.append(what)
        # Only one of the trials has a core to itself.
        now_s += seconds if looks.count(what) == 2 else 5.0

    class TimedPerception(Perception):
        def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
            takes("perception", 0.02)
            return super().observe(crops, view)

    second = SimpleNamespace(read=lambda kind, *_: takes(kind, movenet_s))
    monkeypatch.setattr("sender.perception.read.time.perf_counter", lambda: now_s)
    perception = TimedPerception(PerceptionNet(CAPACITY_TINY), second=cast(SecondOpinion, second))
    assert [reads_fast(perception, quality) for _ in range(2)] == [fast, fast]
    assert looks == (["perception"] * 3 + ["thunder"] * 3 if quality == "auto" else []), "once in a process"
    assert ("takes 50 ms" in caplog.text) == (quality == "auto" and fast)
    assert not reads_fast(Perception(PerceptionNet(CAPACITY_TINY)), quality), "nothing moves people on"


@pytest.fixture(scope="module")
def predictions() -> PerceptionOutput:
    """Of a person, of their feet, and of the background."""
    with VideoFileSource(DEMO_CLIP) as source:
        image = next(iter(source)).image
    person = Detector.load().find(image)[0].box
    width, height = person[2] - person[0], person[3] - person[1]
    feet = np.array([person[0], person[3] - 0.15 * height, person[2], person[3]], np.float32)
    corner = np.array([0, 0, width / 2, height / 2], np.float32)
    return predict_in_boxes(Perception.load(), image, [person, feet, corner]).output


def test_shipped_verifier_separates_person_from_background(predictions: PerceptionOutput) -> None:
    whole, part, background = Verifier.load().presence(predictions, 0.5)
    assert whole > 0.8
    assert background < 0.2
    assert part < whole


def test_second_opinion_counts_by_its_five_surest_keypoints(predictions: PerceptionOutput) -> None:
    assert isinstance(predictions, FusedOutput)
    verifier = Verifier.load()

    def presence(sure: int) -> FloatArray:
        scores = torch.full_like(predictions.second_score, 0.02)
        scores[:, 12 : 12 + sure] = 0.9
        return verifier.presence(replace(predictions, second_score=scores), 0.5)

    none, four, five = presence(0), presence(4), presence(5)
    assert (five > four).all() and (four > none).all()
