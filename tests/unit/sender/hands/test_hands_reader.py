"""Angles are found again from landmarks, as far as these tell them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FINGER_BONES, JOINT_INDEX, JOINTS, MIRROR_TURN_SIGNS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, BodyParameters, axis_angle_to_matrix
from common.frames import Camera, PersonLabels
from common.labels import OPTIONAL_GROUPS, concatenate, split
from sender.hands.fit import ANGLES, FINGERS, GROUPS, FingerLabels, HandFitter, HandSkeleton, Wrists
from sender.hands.hands_reader import HandsStage, Place, SeenHand
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from tests.support.pictures.tracked_people import TrackedPeople

_FLEXIONS = np.tile([False, True, False, True, True], FINGERS)


SPACE, BODY = LabelSpace.load(), BodyModel.load()
FITTER, SKELETON, WRISTS_OF = HandFitter.load(BODY), HandSkeleton.from_body(BODY), Wrists(SPACE, BODY)


def pose(seed: int) -> Float64Array:
    """A hand whose fingers are curled each on its own."""
    curl = np.random.default_rng(seed).uniform(0, 1.2, (FINGERS, 1))
    return np.asarray((curl * np.array([0, 0.8, 0, 1, 0.7])).ravel())


def seen(angles: Float64Array, turn: tuple[float, float, float]) -> Float64Array:
    """(L, 3) pixels of a hand of 90 px."""
    landmarks = FITTER._skeleton.pose(angles).landmarks
    return np.asarray(480 * landmarks @ Rotation.from_rotvec(turn).as_matrix().T + [320, 240, 0])


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.4, -0.3, 1.2), (-0.5, 0.8, -2.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_fit_finds_the_angles_of_a_hand_that_is_turned(turn: tuple[float, float, float], seed: int) -> None:
    angles = pose(seed)
    fitted = FITTER.fit(seen(angles, turn))
    assert np.degrees(np.abs(fitted.angles - angles))[_FLEXIONS].mean() < 10
    assert fitted.residual < 0.05


def test_landmarks_that_no_hand_has_leave_a_residual() -> None:
    impossible = seen(np.zeros(FINGERS * ANGLES), (0.0, 0.0, 0.0))
    impossible[5:] = impossible[5:][::-1]
    assert FITTER.fit(impossible).residual > 0.1


def test_jacobian_is_the_derivative_of_the_landmarks() -> None:
    angles, step = pose(4), 1e-6
    posed = SKELETON.pose(angles)
    for angle in range(FINGERS * ANGLES):
        moved = SKELETON.pose(angles + step * np.eye(FINGERS * ANGLES)[angle]).landmarks
        assert np.allclose((moved - posed.landmarks) / step, posed.jacobian[..., angle], atol=1e-6)


def posed() -> dict[str, FloatArray]:
    """Labels of somebody in any pose."""
    vectors = torch.from_numpy(np.random.default_rng(1).normal(0, 0.25, (1, len(JOINTS), 3)).astype(np.float32))
    rest = BodyParameters.rest()
    parameters = BodyParameters(axis_angle_to_matrix(vectors), rest.curl, rest.shape, rest.translation)
    groups = split(SPACE.encode(parameters)[0].numpy())
    return {name: group for name, group in groups.items() if name not in OPTIONAL_GROUPS}


def shown(labels: dict[str, FloatArray]) -> BodyOutput:
    with torch.inference_mode():
        output: BodyOutput = BODY(SPACE.decode(torch.from_numpy(concatenate(labels))[None]))
    return output


@pytest.mark.parametrize(("side", "joint"), [(0, "wrist.L"), (1, "wrist.R")])
def test_hand_is_turned_as_it_was_seen(side: int, joint: str) -> None:
    labels, wrists = posed(), WRISTS_OF
    before = shown(labels)
    index = JOINT_INDEX[joint]
    turn = Rotation.from_rotvec([0.5, -0.6, 0.4]).as_matrix()
    orientation = before.joint_rotations[0, index].double().numpy() @ turn
    against = wrists.against_forearm(labels, orientation, side)
    assert against is not None
    after = shown(labels | wrists.turned(labels, {side: against}))
    assert np.allclose(after.joint_rotations[0, index], orientation, atol=2e-3)
    # Forearms turn about themselves: arms, and the other hand, stay where they are.
    assert torch.allclose(after.joint_positions[:, : len(JOINTS)], before.joint_positions[:, : len(JOINTS)], atol=2e-3)
    other = JOINT_INDEX["wrist.R" if side == 0 else "wrist.L"]
    assert torch.allclose(after.joint_rotations[0, other], before.joint_rotations[0, other], atol=2e-3)


def test_wrist_that_would_break_is_not_turned() -> None:
    labels, wrists = posed(), WRISTS_OF
    now = shown(labels).joint_rotations[0, JOINT_INDEX["wrist.L"]].double().numpy()
    across = np.cross(wrists._axes[0], [0, 0, 1])
    backwards = now @ Rotation.from_rotvec(2.5 * across / np.linalg.norm(across)).as_matrix()
    assert wrists.against_forearm(labels, backwards, 0) is None


CAMERA = Camera(640, 480, 768.0)
IMAGE = np.zeros((480, 640, 3), np.uint8)
CROP = CropBox(120, 40, 400)
FRAME_S = 1 / 30
WRISTS = {"left": (0.75, 0.5), "right": (0.25, 0.5)}


class ScriptedReader:
    """Shows hands with these angles at the wrists, and records the looks: `search`, `read` or `fast`, and the side."""

    def __init__(self, skeleton: HandSkeleton) -> None:
        self.angles = np.zeros(FINGERS * ANGLES)
        self.score, self.is_right = 0.95, True
        self.looks: list[tuple[str, str]] = []
        self._skeleton = skeleton

    def search(self, image: Any, place: Place, *, left: bool) -> SeenHand:
        self.looks.append(("search", "left" if left else "right"))
        return self._seen(left)

    def read(self, image: Any, crop: CropBox, *, left: bool, fast: bool = False) -> SeenHand:
        self.looks.append(("fast" if fast else "read", "left" if left else "right"))
        return self._seen(left)

    def _seen(self, left: bool) -> SeenHand:
        points = 480 * self._skeleton.pose(self.angles).landmarks * ([1, 1, 1] if left else [-1, 1, 1])
        at = CROP.to_pixels(np.array(WRISTS["left" if left else "right"]))
        return SeenHand(points + np.array([*at, 0]), self.score, self.is_right)


def person(identity: int = 0, span_m: float = 1.0, hidden: Sequence[str] = ()) -> ObservedPerson:
    """Somebody whose wrists are 60 % of a metre apart where the crop spans a metre."""
    fields: dict[str, Any] = {name: torch.zeros(1) for name in PerceptionOutput.__dataclass_fields__}
    keypoints, joints = torch.full((1, 17, 2), 0.5), torch.zeros(1, 17, 3)
    visible = torch.full((1, 17), 4.0)
    for side, elbow in (("left", 7), ("right", 8)):
        x, y = WRISTS[side]
        keypoints[0, elbow], keypoints[0, elbow + 2] = torch.tensor([x, y + 0.2]), torch.tensor([x, y])
        joints[0, elbow, 1] = 0.24
        if side in hidden:
            visible[0, elbow + 2] = -4.0
    fields |= {"keypoints_2d": keypoints, "joints_3d": joints, "visible_logit": visible}
    fields |= {
        "keypoints_sigma": torch.full((1, 17), 0.01),
        "camera": torch.tensor([[0.5, 0.5, float(np.log(span_m))]]),
    }
    return ObservedPerson(TrackedPerson(identity), 0.9, CROP, PerceptionOutput(**fields))


def labels_of(identity: int = 0) -> PersonLabels:
    groups = split(SPACE.encode(BodyParameters.rest())[0].numpy())
    return PersonLabels(identity, 0.9, {name: value for name, value in groups.items() if name not in OPTIONAL_GROUPS})


class Film(TrackedPeople):
    """What the stage says of people from frame to frame, whose hands its reader shows."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = ScriptedReader(FITTER._skeleton)
        self._stage = HandsStage(self.reader, FITTER, FingerLabels(SPACE, BODY), WRISTS_OF)  # type: ignore[arg-type]

    def run(self, frame: float, *people: ObservedPerson) -> list[PersonLabels]:
        labels = [labels_of(one.identity) for one in people]
        return self.read(self._stage, IMAGE, CAMERA, people, labels, frame * FRAME_S)


@pytest.fixture
def film() -> Film:
    return Film()


def phalanges(labels: PersonLabels) -> Float64Array:
    """(30, 3) rotation vectors that the receiver computes."""
    mean, rows = SPACE.rotation_vectors(BODY)
    vectors = mean + torch.from_numpy(concatenate(labels.labels)) @ rows
    return vectors[-3 * len(FINGER_BONES) :].reshape(-1, 3).double().numpy()


def test_both_hands_of_the_first_frame_are_read(film: Film) -> None:
    (labelled,) = film.run(0, person())
    assert film.reader.looks == [("search", "left"), ("read", "left"), ("search", "right"), ("read", "right")]
    assert set(GROUPS) <= set(labelled.labels)
    assert [labelled.confidence[group] for group in GROUPS] == [0.95, 0.95]


@pytest.mark.parametrize("curled", [0.0, 1.0])
def test_labels_show_the_hands_that_were_seen(film: Film, curled: float) -> None:
    film.reader.angles = np.tile(curled * np.array([0, 0.8, 0, 1.2, 0.8]), FINGERS)
    (labelled,) = film.run(0, person())
    shown = phalanges(labelled)
    flexion = (shown * BODY.curl_axes.double().numpy()).sum(-1)[[4, 7, 10, 13, 19, 22, 25, 28]]
    assert np.abs(np.degrees(flexion - 1.2 * curled)).max() < 20
    assert np.allclose(shown[:15], shown[15:] * MIRROR_TURN_SIGNS, atol=1e-3)


@pytest.mark.parametrize("fault", [{"score": 0.85}, {"is_right": False}])
def test_hands_that_are_not_believed_have_no_labels(film: Film, fault: dict[str, Any]) -> None:
    for name, value in fault.items():
        setattr(film.reader, name, value)
    assert not set(GROUPS) & set(film.run(0, person())[0].labels)


def test_small_hands_are_not_looked_at(film: Film) -> None:
    assert not set(GROUPS) & set(film.run(0, person(span_m=2.5))[0].labels)
    assert film.reader.looks == []


def test_hands_take_turns_in_every_third_frame(film: Film) -> None:
    for frame in range(16):
        film.run(frame, person())
        assert film.schedule.is_busy
    assert film.reader.looks[4:] == [("fast", "left"), ("fast", "right")] * 2


def test_fingers_move_towards_a_new_reading(film: Film) -> None:
    film.run(0, person(hidden=["right"]))
    film.reader.angles = np.tile([0, 0.8, 0, 1.2, 0.8], FINGERS)
    curls = []
    for frame in range(1, 24):
        (labelled,) = film.run(frame, person(hidden=["right"]))
        curls.append(np.linalg.norm(phalanges(labelled)[4]))
    assert np.all(np.diff(curls) > -1e-6)
    assert np.max(np.diff(curls)) < 0.6 < curls[-1]


def test_fingers_go_when_a_hand_is_lost(film: Film) -> None:
    film.run(0, person())
    shown = [set(GROUPS) <= set(film.run(frame, person(hidden=list(WRISTS)))[0].labels) for frame in range(1, 31)]
    assert shown[:10] == [True] * 10
    assert not any(shown[24:])


def test_only_the_most_prominent_people_are_looked_at(film: Film) -> None:
    labelled = film.run(0, *(person(identity) for identity in range(4)))
    assert [bool(set(GROUPS) & set(one.labels)) for one in labelled] == [True, True, False, False]


@pytest.mark.parametrize("fps", [5, 240])
def test_hands_are_read_as_often_at_any_frame_rate(film: Film, fps: int) -> None:
    for frame in range(fps):
        film.run(frame / fps / FRAME_S, person())
    assert len(film.reader.looks[4:]) == (4 if fps == 5 else pytest.approx(11, abs=2))
