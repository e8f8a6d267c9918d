"""Where a face is looked for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray, Image
from common.body.anatomy import FACIAL_ACTIONS
from common.body.faces import ExpressionSpace
from common.body.model import BodyParameters, KeypointKinematics
from common.frames import Camera, PersonLabels
from common.synthetic.renderer import View
from sender.face.actions import FaceActions, FaceActionsConfig, Lids, RestingLevels, lids_of_still
from sender.face.face_reader import FaceMemory, FaceStage, _Known
from sender.face.head import FRONT, HeadMemory, HeadPoseReader, HeadReading
from sender.face.landmarks import (
    FEATURES,
    LEFT_CORNERS,
    POINTS,
    RIGHT_CORNERS,
    AlignedFace,
    Alignment,
    FaceDetector,
    FaceLandmarks,
    FaceReader,
    face_px,
    region_of_keypoints,
)
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson
from tests.support.pictures.preview_samples import MASK, observed
from tests.support.pictures.rendered_heads import Heads, Look
from tests.support.pictures.shown_heads import shown_head
from tests.support.pictures.tracked_people import TrackedPeople

UPRIGHT = np.array([[100, 118], [120, 100], [80, 100]], np.float32)


def test_upright_face() -> None:
    region = region_of_keypoints(UPRIGHT)
    assert region.roll == 0
    assert region.centre[0] == pytest.approx(100, abs=1)
    assert 100 < region.centre[1] < 125
    assert face_px(region) == pytest.approx(2.2 * 40, rel=0.1)


def test_region_turns_with_the_face() -> None:
    turned = region_of_keypoints(np.array([[82, 100], [100, 120], [100, 80]], np.float32))
    assert turned.roll == pytest.approx(np.pi / 2)
    assert turned.side == pytest.approx(region_of_keypoints(UPRIGHT).side, abs=1)
    assert turned.centre[0] < 100


def test_face_that_looks_aside_is_behind_its_nose() -> None:
    nose_left = UPRIGHT - np.array([[15, 0], [0, 0], [0, 0]], np.float32)
    assert region_of_keypoints(nose_left).centre[0] > 105


SIDE = 256
SQUARE = View(SIDE, SIDE, 800.0)


@pytest.fixture(scope="module")
def landmark_reader() -> FaceReader:
    found = FaceReader.load()
    if found is None:
        pytest.skip("built without MediaPipe's networks")
    return found


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads()


def picture(heads: Heads, *actions: str, place_m: Sequence[float] = (0, -0.03, 0.9), view: View = SQUARE) -> Image:
    """The mean head, from the front, with its eyes at a place: in the upper middle."""
    activations = np.isin(FACIAL_ACTIONS, actions).astype(np.float32)
    vertices = heads.vertices(np.zeros(10, np.float32), activations)
    place, rng = np.array(place_m, np.float32) - vertices[heads.eye_vertices].mean(axis=0), np.random.default_rng(2)
    return heads.render((vertices + place).astype(np.float32), Look.draw(rng), view, rng)


def test_landmarks_lie_on_the_face(landmark_reader: FaceReader, heads: Heads) -> None:
    face = landmark_reader.read(picture(heads), CropBox(0, 0, SIDE))
    assert face is not None and face.score > 0.9
    left, right = (face.points[list(corners), :2].mean(axis=0) for corners in (LEFT_CORNERS, RIGHT_CORNERS))
    np.testing.assert_allclose(left, [155, 101], atol=5)
    np.testing.assert_allclose(right, [101, 101], atol=5)
    np.testing.assert_allclose(face.iris[:, 0], [left, right], atol=5)
    assert abs(face.roll) < 0.05


def test_nothing_is_no_face(landmark_reader: FaceReader) -> None:
    assert landmark_reader.read(np.full((SIDE, SIDE, 3), 128, np.uint8), CropBox(0, 0, SIDE), 0.5) is None


def test_lids_and_lips_part_as_they_are_drawn(landmark_reader: FaceReader, heads: Heads) -> None:
    def apart(*actions: str) -> tuple[float, list[float]]:
        face = landmark_reader.read(picture(heads, *actions), CropBox(0, 0, SIDE))
        assert face is not None
        lips = float(np.linalg.norm(face.points[13, :2] - face.points[14, :2]))
        return lips, [float(np.ptp(lids[:, 1])) for lids in face.lids]

    shut, opened = apart()
    parted, _ = apart("jawOpen")
    assert shut < 1.5 and parted > 12
    _, closed = apart("eyeBlinkLeft")
    assert closed[0] < 0.7 * opened[0] and closed[1] > 0.8 * opened[1]


TEMPLATE = np.random.default_rng(0).normal(0, 0.05, (POINTS, 3)).astype(np.float32)
ALIGNMENT = Alignment(TEMPLATE, np.ones(POINTS, np.float32))


def aligned_face_of(points: FloatArray, gaze: float = 0.0) -> FaceLandmarks:
    """A face whose irises are in the middle of the corners, or pixels aside."""
    corners = np.stack([points[list(LEFT_CORNERS)], points[list(RIGHT_CORNERS)]])[..., :2]
    share = np.linspace(0, 1, 9)
    lower = corners[:, :1] + share[:, None] * (corners[:, 1:] - corners[:, :1])
    lids = np.concatenate([lower, lower[:, 1:8]], axis=1)
    iris = corners.mean(axis=1, keepdims=True).repeat(5, axis=1) + np.array([gaze, 0])
    return FaceLandmarks(points.astype(np.float32), lids, iris, 1.0)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, -0.5, 0.3)])
def test_turned_head_has_no_expression(turn: tuple[float, float, float]) -> None:
    rotation = Rotation.from_euler("xyz", turn).as_matrix().astype(np.float32)
    aligned = ALIGNMENT.align(aligned_face_of(400 * TEMPLATE @ rotation.T + np.array([320, 200, 0], np.float32)))
    np.testing.assert_allclose(aligned.features[: 3 * POINTS], 0, atol=1e-3)
    np.testing.assert_allclose(aligned.rotation, rotation, atol=1e-5)
    assert aligned.px_per_m == pytest.approx(400)


def test_openings_are_measured_at_the_scale_of_the_face() -> None:
    points = 400 * TEMPLATE
    for upper, lower in ((81, 178), (82, 87), (13, 14), (312, 317), (311, 402)):
        points[lower] = points[upper] + np.array([0, 4, 0])
    face = aligned_face_of(points)
    face.lids[1, 9:, 1] -= 2
    weights = np.ones(POINTS, np.float32)
    weights[[178, 87, 14, 317, 402]] = 0
    aligned = Alignment(TEMPLATE, weights).align(face)
    assert aligned.lips_mm == pytest.approx(10, rel=1e-3)
    np.testing.assert_allclose(aligned.lids_mm, [0, 5], atol=0.01)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    found = FaceDetector.load()
    if found is None:
        pytest.skip("built without MediaPipe's networks")
    return found


def test_head_is_found_where_it_is(detector: FaceDetector, heads: Heads) -> None:
    (face,) = detector.find(picture(heads, place_m=(0.1, 0, 0.9), view=View(512, 320, 800.0)))
    # The eyes are at the height of the middle, the face below them.
    np.testing.assert_allclose(face.centre, [256 + 800 / 9, 180], atol=25)
    assert 170 < face.side < 290 and abs(face.roll) < 0.1


def test_detector_nothing_is_no_face(detector: FaceDetector) -> None:
    assert detector.find(np.full((240, 320, 3), 128, np.uint8)) == []


def test_levels_take_little_memory_and_forget() -> None:
    levels = RestingLevels(np.full(52, 0.3), np.full(52, 0.08), 0.3)
    readings = np.zeros(52, np.float32)
    for smile in (0.3, 0.0):
        readings[7] = smile
        for _ in range(120 * 10):
            levels.learn(readings, 0.1)
        assert levels.levels[7] == pytest.approx(smile, abs=0.03)
    assert levels._seconds.size < 10_000
    np.testing.assert_allclose(levels._seconds.sum(axis=1), 60, rtol=0.05)


@pytest.mark.parametrize("quantile", [0.3, 0.5])
def test_quantile_of_strangers_is_0(quantile: float) -> None:
    np.testing.assert_allclose(RestingLevels(np.full(2, quantile), np.full(2, 0.1), 0.3).levels, 0, atol=0.01)


FPS = 30


def followed(closed: Float64Array, lids: Lids | None = None, *, yaw: float = 0.0, fps: float = FPS) -> FloatArray:
    """(N, 2) activations for readings (N,) of both eyes or (N, 2)."""
    lids, rotation = lids or Lids(), turned(yaw)
    each = np.broadcast_to(closed.T, (2, len(closed))).T.astype(np.float32)
    return np.stack([lids.follow(row, rotation, 1 / fps) for row in each])


def turned(yaw: float) -> FloatArray:
    return np.asarray(Rotation.from_euler("y", yaw).as_matrix(), np.float32)


def test_blink_of_eyes_that_look_up_is_found() -> None:
    """From wide open to what is half closed for others."""
    found = followed(np.repeat([0.0, -0.35, 0.2, 0.0], [60, 12, 3, 10]))
    assert found[72:75].max() > 0.5
    assert found[76:].max() < 0.4 and found[-1].max() < 0.1


def test_jitter_does_not_blink_and_small_blinks_pass_where_there_is_little() -> None:
    rng = np.random.default_rng(0)
    assert followed(rng.normal(0, 0.1, 60 * FPS))[FPS:].mean(axis=1).max() < 0.4
    closed = rng.normal(0, 0.02, 20 * FPS)
    closed[-3:] += 0.3
    assert followed(closed)[-3:].max() > 0.5


def test_long_closing_stays_closed() -> None:
    found = followed(np.repeat([0.0, 0.8], [10 * FPS, 8 * FPS]))
    assert found[-1].min() > 0.9


def test_who_comes_with_narrow_eyes_does_not_blink() -> None:
    assert followed(np.full(FPS, 0.55)).max() < 0.3
    np.testing.assert_allclose(lids_of_still(np.full(2, 0.55, np.float32), turned(0.0)), 0.55, atol=0.01)


def test_wink_is_of_one_eye() -> None:
    closed = np.zeros((FPS + 4, 2))
    closed[FPS:, 0] = 0.8
    left, right = followed(closed)[-1]
    assert left > 0.9 and right < 0.1


def test_hidden_eye_follows_the_other() -> None:
    closed = np.zeros((FPS + 4, 2))
    closed[FPS:, 0] = 0.5
    near, far = followed(closed, yaw=0.6)[-1], followed(closed, yaw=-0.6)[-1]
    np.testing.assert_allclose(near, near[0])
    assert near.min() > 0.9 and far.max() < 0.05


@pytest.mark.parametrize("fps", [30, 60, 120])
def test_lids_follow_as_fast_at_any_frame_rate(fps: int) -> None:
    closed = np.tile([-0.05, 0.05], 2 * fps)
    closed[-fps // 10 :] += 0.35
    assert 0.35 < followed(closed, fps=fps)[-1].mean() < 0.6


SHAPE, NEUTRAL = np.zeros(10, np.float32), np.zeros(52, np.float32)
STEP_S = 1 / 30
NETWORK, READING = FaceActions.load().requires_grad_(False), HeadReading.load()


def face_of(entries: FloatArray, shape: FloatArray = SHAPE, noise: float = 0.0) -> AlignedFace:
    """A frontal face of 84 pixels whose components are those that the model gives for a head."""
    rest = READING.mean + shape @ READING.by_shape + entries @ READING.by_head
    rest = rest + noise * np.random.default_rng(0).standard_normal(len(rest))
    z = np.linalg.solve(READING.whitening.T.astype(np.float64), rest)
    features = NETWORK.mean.numpy() + z @ np.linalg.pinv(NETWORK.basis.numpy().astype(np.float64))
    return AlignedFace(features.astype(np.float32), np.eye(3, dtype=np.float32), 600.0)


def learnt(faces: list[AlignedFace]) -> HeadMemory:
    memory = HeadMemory.unknown(READING)
    for face in faces:
        memory.look(READING, NETWORK, face, NEUTRAL, STEP_S)
    return memory


def some_head() -> FloatArray:
    return np.random.default_rng(1).standard_normal(16).astype(np.float32)


def test_a_head_is_found_and_many_looks_tell_more_than_one() -> None:
    head = some_head()
    face = face_of(head)
    one, many = (learnt([face] * count).entries(READING, SHAPE) for count in (1, 60))
    assert one is not None and many is not None
    assert np.corrcoef(many, head)[0, 1] > 0.8
    assert np.linalg.norm(one) < np.linalg.norm(many) < 1.1 * np.linalg.norm(head)


def test_what_shape_says_of_a_head_is_not_said_again() -> None:
    heavy = np.zeros(10, np.float32)
    heavy[2] = 2.0
    memory = learnt([face_of(0 * some_head(), heavy)] * 60)
    entries = memory.entries(READING, heavy)
    assert entries is not None
    assert np.abs(entries).max() < 0.05


def test_half_of_an_expression_is_no_part_of_the_head_and_such_a_look_tells_less() -> None:
    acting = NEUTRAL.copy()
    acting[[17, 30]] = 0.8
    at_rest = face_of(some_head())
    moved = (torch.from_numpy(acting) @ NETWORK.effects).numpy() @ np.linalg.pinv(NETWORK.basis.numpy())
    acted = replace(at_rest, features=at_rest.features + moved.astype(np.float32))
    neutral, known, unknown = (HeadMemory.unknown(READING) for _ in range(3))
    neutral.look(READING, NETWORK, at_rest, NEUTRAL, STEP_S)
    known.look(READING, NETWORK, acted, acting, STEP_S)
    unknown.look(READING, NETWORK, acted, NEUTRAL, STEP_S)
    np.testing.assert_allclose(known.rest, (neutral.rest + unknown.rest) / 2, atol=0.1)
    assert known.looks < neutral.looks


def test_one_bad_look_hardly_changes_a_head() -> None:
    face = face_of(some_head())
    memory = learnt([face] * 60)
    before = memory.rest
    memory.look(READING, NETWORK, replace(face, features=face.features + 30.0), NEUTRAL, STEP_S)
    assert np.sqrt(np.square(memory.rest - before).mean()) < 0.1


def test_entries_that_were_sent_stay_until_the_head_looks_another() -> None:
    memory = learnt([face_of(some_head())] * 60)
    first = memory.entries(READING, SHAPE)
    memory.look(READING, NETWORK, face_of(some_head(), noise=0.3), NEUTRAL, STEP_S)
    assert memory.entries(READING, SHAPE) is first
    other = face_of(-some_head())
    for _ in range(600):
        memory.look(READING, NETWORK, other, NEUTRAL, STEP_S)
    assert memory.entries(READING, SHAPE) is not first


CAMERA = Camera(640, 480, 700.0)
PLACE = (0.05, -0.04, 0.7)


@pytest.fixture(scope="module")
def head_reader() -> HeadPoseReader:
    return HeadPoseReader.load()


@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_head_is_read_where_it_is(
    head_reader: HeadPoseReader, kinematics: KeypointKinematics, turned_deg: float
) -> None:
    turn = Rotation.from_euler("y", turned_deg, degrees=True).as_matrix()
    keypoints = kinematics(BodyParameters.rest())[0][0, :5].numpy().astype(np.float64)
    head = head_reader(shown_head(CAMERA, PLACE, turn))
    found = head.in_camera(CAMERA)
    expected = (keypoints - keypoints[0]) @ turn.T
    # Landmarks are of a camera without perspective.
    np.testing.assert_allclose(found - found[0], expected, atol=0.012)
    assert found[:FRONT, 2].mean() == pytest.approx(PLACE[2], abs=0.03)
    seen = np.array([320, 240]) + 700 * found[:FRONT, :2] / found[:FRONT, 2:]
    np.testing.assert_allclose(seen, head.keypoints[:FRONT], atol=0.5)


JAW, CLOSE, SMILE, BROW, LEFT, RIGHT = (
    FACIAL_ACTIONS.index(name)
    for name in ("jawOpen", "mouthClose", "mouthSmileLeft", "browDownLeft", "eyeBlinkLeft", "eyeBlinkRight")
)


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
