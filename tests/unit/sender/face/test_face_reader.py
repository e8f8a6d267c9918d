"""What is remembered of a face, with a network that reads its first components."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray, Image
from common.body.anatomy import FACIAL_ACTIONS
from common.body.faces import ExpressionSpace
from common.frames import Camera, PersonLabels
from sender.face.actions import FaceActions, FaceActionsConfig
from sender.face.face_reader import FaceMemory, FaceStage, _Known
from sender.face.head import HeadPoseReader, HeadReading
from sender.face.landmarks import FEATURES, POINTS, AlignedFace, FaceLandmarks
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson
from tests.support.pictures.preview_samples import MASK, observed
from tests.support.pictures.tracked_people import TrackedPeople

JAW, CLOSE, SMILE, BROW, LEFT, RIGHT = (
    FACIAL_ACTIONS.index(name)
    for name in ("jawOpen", "mouthClose", "mouthSmileLeft", "browDownLeft", "eyeBlinkLeft", "eyeBlinkRight")
)
FPS = 30


class Copying(FaceActions):
    """Readings are the first features; those of the jaw and the lids, distances as well."""

    def __init__(self) -> None:
        super().__init__(FaceActionsConfig(components=52, width=8))
        self.basis.copy_(torch.eye(FEATURES, 52))

    def forward(self, differences: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        return differences


@pytest.fixture
def network() -> Copying:
    return Copying()


def seen(network: FaceActions, frames: list[dict[int, float]], yaw: float = 0.0, fps: int = FPS) -> list[FloatArray]:
    """The steady activations (52,) of frames with some features."""
    memory, found = FaceMemory(network.neutral), []
    rotation = Rotation.from_euler("y", yaw).as_matrix().astype(np.float32)
    for number, values in enumerate(frames):
        features = np.zeros(FEATURES, np.float32)
        features[list(values)] = list(values.values())
        closed = features[[LEFT, RIGHT]]
        face = AlignedFace(features, rotation, 1000.0, 23 * float(features[JAW]), 6.4 * (1 - closed))
        memory.read(network, face, number / fps)
        found.append(memory.activations)
    return found


def test_blink_of_three_frames_passes(network: Copying) -> None:
    lids = [frame[LEFT] for frame in seen(network, [{}] * 30 + [{LEFT: 0.9, RIGHT: 0.9}] * 3 + [{}] * 5)]
    assert max(lids[30:33]) > 0.8
    assert lids[34] < 0.1


def test_lips_that_touch_shut_the_mouth_within_a_second(network: Copying) -> None:
    """Of somebody with a long lower lip, whose landmarks are apart."""
    jaw = [frame[JAW] for frame in seen(network, [{JAW: 0.12}] * FPS)]
    assert jaw[-1] < 0.02


@pytest.mark.parametrize("action", [SMILE, BROW])
def test_what_lasts_from_the_first_second_on_is_rest(network: Copying, action: int) -> None:
    found = [frame[action] for frame in seen(network, [{action: 0.35}] * FPS + [{action: 0.8}] * 10)]
    assert found[0] > 0.2 and found[FPS - 1] < 0.05
    assert found[-1] > 0.5


def test_who_talks_from_the_first_frame_is_not_silenced(network: Copying) -> None:
    words = [{JAW: 0.25 + 0.25 * np.sin(2 * np.pi * 3 * number / FPS)} for number in range(20 * FPS)]
    jaw = np.array([frame[JAW] for frame in seen(network, words)])
    for span in (jaw[:FPS], jaw[-FPS:]):
        assert span.max() > 0.35 and span.min() < 0.05


def test_mouth_that_is_held_open_stays_open(network: Copying) -> None:
    jaw = [frame[JAW] for frame in seen(network, [{}] * FPS + [{JAW: 0.5}] * (60 * FPS))]
    assert jaw[-1] > 0.3 and max(jaw) - jaw[-1] < 0.15


def test_lids_that_are_apart_are_no_blink_whatever_the_network_reads(network: Copying) -> None:
    memory = FaceMemory(network.neutral)
    for number in range(FPS + 10):
        features = np.zeros(FEATURES, np.float32)
        features[[LEFT, RIGHT]] = 0.8 * (number >= FPS)
        face = AlignedFace(features, np.eye(3, dtype=np.float32), 1000.0, 0.0, np.full(2, 6.4, np.float32))
        memory.read(network, face, number / FPS)
        assert memory.activations[LEFT] < 0.05


@pytest.mark.parametrize("fps", [30, 240])
def test_faces_follow_as_fast_at_any_frame_rate(network: Copying, fps: int) -> None:
    smile: list[dict[int, float]] = [{}] * fps + [{SMILE: 0.15}] * fps
    found = seen(network, smile, fps=fps)
    assert found[fps + fps // 10][SMILE] == pytest.approx(0.052, abs=0.008)


CAMERA = Camera(640, 480, 700.0)
FRAME: Image = np.zeros((480, 640, 3), np.uint8)


class ScriptedReader:
    """Finds a face in every region, or none; records the regions."""

    def __init__(self) -> None:
        self.regions: list[CropBox] = []
        self.finds = True

    def read(self, image: Image, region: CropBox, least_score: float = 0.0) -> FaceLandmarks | None:
        self.regions.append(region)
        if not self.finds:
            return None
        spread = np.random.default_rng(0).uniform(-1 / 3, 1 / 3, (POINTS, 3)) * region.side
        spread[33, :2], spread[263, :2] = (-0.15 * region.side, 0), (0.15 * region.side, 0)
        points = (spread + np.array([*region.centre, 0])).astype(np.float32)
        return FaceLandmarks(points, np.zeros((2, 16, 2), np.float32), np.zeros((2, 5, 2), np.float32), 0.95)


@pytest.fixture
def reader() -> ScriptedReader:
    return ScriptedReader()


@pytest.fixture
def stage(reader: ScriptedReader) -> FaceStage:
    return FaceStage(reader, FaceActions.load(), ExpressionSpace.load(), HeadReading.load())  # type: ignore[arg-type]


def person(identity: int, eyes_px: float = 40.0, *, visible: bool = True, x: float = 300.0) -> ObservedPerson:
    crop = CropBox(0, 0, 400)
    at = np.full((17, 2), 0.5, np.float32)
    at[:3] = np.array([[x, 100 + 0.45 * eyes_px], [x + eyes_px / 2, 100], [x - eyes_px / 2, 100]]) / 400
    seen: NDArray[np.bool_] = np.full(17, visible)
    return observed(crop, np.ones((MASK, MASK), np.bool_), keypoints_2d=at, visible=seen, identity=identity)


class Film(TrackedPeople):
    """What the stage says of people from frame to frame."""

    def __init__(self, stage: FaceStage) -> None:
        super().__init__()
        self._stage = stage

    def label(self, people: Sequence[ObservedPerson], frame: float) -> list[bool]:
        """Whether the people have labels of their faces."""
        bare = [PersonLabels(each.identity, each.score, {"shape": np.zeros(10, np.float32)}) for each in people]
        return [_is_labelled(each) for each in self.read(self._stage, FRAME, CAMERA, people, bare, frame / 30)]

    def known(self, identity: int) -> _Known:
        return self._stage._people.of(self[identity])


def _is_labelled(each: PersonLabels) -> bool:
    assert ("face" in each.labels) == ("eyes" in each.labels) == (each.confidence.get("face", 0) > 0)
    if "face" in each.labels:
        assert (each.labels["face"].shape, each.labels["eyes"].shape) == ((12,), (4,))
    return "face" in each.labels


@pytest.fixture
def film(stage: FaceStage) -> Film:
    return Film(stage)


@pytest.mark.parametrize(
    ("eyes_px", "visible", "read"), [(40.0, True, True), (16.0, True, False), (40.0, False, False)]
)
def test_only_large_faces_that_are_seen_are_read(
    film: Film, reader: ScriptedReader, eyes_px: float, visible: bool, read: bool
) -> None:
    assert film.label([person(0, eyes_px, visible=visible)], 0) == [read]
    assert bool(reader.regions) == read


def test_new_face_is_looked_at_twice_and_then_where_it_was(film: Film, reader: ScriptedReader) -> None:
    film.label([person(0)], 0)
    assert len(reader.regions) == 2
    film.label([person(0, x=302.0)], 1)
    assert len(reader.regions) == 3
    film.label([person(0, x=200.0)], 2)
    assert len(reader.regions) == 5, "a face that jumps is new"


def test_faces_that_perception_has_read_are_not_read_again(film: Film, reader: ScriptedReader) -> None:
    face = reader.read(FRAME, CropBox(200, 100, 200))
    assert face is not None
    near = replace(person(0), head=HeadPoseReader.load()(face))
    assert film.label([near], 0) == [True]
    assert len(reader.regions) == 1 and film.known(0).face.last is face


def test_two_faces_are_read_in_a_frame_and_the_others_keep_their_labels(film: Film, reader: ScriptedReader) -> None:
    crowd = [person(identity) for identity in range(5)]
    found = [film.label(crowd, frame) for frame in range(6)]
    assert found[0] == [True, True, False, False, False]
    assert all(map(all, found[2:]))
    assert len(reader.regions) == 5 * 2 + (6 * 2 - 5)


def test_face_waits_one_frame_for_something_else(film: Film, reader: ScriptedReader) -> None:
    read = []
    for frame in range(5):
        before = len(reader.regions)
        assert film.label([person(0)], frame) == [True]
        read.append(len(reader.regions) > before)
        if frame == 1:
            film.schedule.occupy(1.0)
    assert read == [True, True, False, True, False]


@pytest.mark.parametrize("fps", [5, 30, 240])
def test_face_that_is_not_read_is_held_as_long_at_any_frame_rate(film: Film, fps: int) -> None:
    film.label([person(0)], 0)
    crowd = [person(identity) for identity in (1, 2, 0)]
    held = [film.label(crowd, 30 * frame / fps)[2] for frame in (1, round(0.4 * fps))]
    assert held == [True, True] and not film.label([person(0, visible=False)], 30)[0]
    assert film.known(0).face.last is None
