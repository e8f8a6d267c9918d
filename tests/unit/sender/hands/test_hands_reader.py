"""Whose hands are looked at when, and what people get, with a scripted reader."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import Float64Array
from common.body.anatomy import FINGER_BONES, MIRROR_TURN_SIGNS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters
from common.frames import Camera, PersonLabels
from common.labels import OPTIONAL_GROUPS, concatenate, split
from sender.hands.fit import ANGLES, FINGERS, GROUPS, FingerLabels, HandFitter, HandSkeleton, Wrists
from sender.hands.hands_reader import HandsStage
from sender.hands.landmarks import Place, SeenHand
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from tests.support.pictures.tracked_people import TrackedPeople

SPACE, BODY = LabelSpace.load(), BodyModel.load()
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
        fitter = HandFitter.load(BODY)
        self.reader = ScriptedReader(fitter._skeleton)
        self._stage = HandsStage(self.reader, fitter, FingerLabels(SPACE, BODY), Wrists(SPACE, BODY))  # type: ignore[arg-type]

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
