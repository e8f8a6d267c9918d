"""What is said of a posterior."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import FloatArray, Image
from common.blobs import WEARS, Blob
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.frames import Camera, PersonLabels
from common.head_outline import SECTORS
from common.wear_kinds import VALUES
from common.wears import USUAL, WITHDRAWN, Wears
from sender.attributes.kind_reader import KindReader, KindStage, OutlineMemory, OutlineReader
from sender.attributes.kinds import (
    COLOUR_FEATURES,
    PART_PX,
    PARTS,
    PLACES,
    KindMemory,
    KindNet,
    KindNetConfig,
    KindViews,
    limb_colours,
    part_pictures,
    part_transforms,
    said,
    smallest_set,
)
from sender.capture.source import CapturedFrame
from sender.face.landmarks import FaceLandmarks
from sender.perception.crop import CropBox
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from tests.support.pictures.tracked_people import TrackedPeople


def sleeves(**shares: float) -> dict[str, np.ndarray]:
    return {"sleeve": np.array([shares.get(value, 0.0) for value in VALUES["sleeve"]], np.float32)}


def test_set_is_the_smallest_with_the_probability() -> None:
    shares = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.1, 0.1, 0.75]], np.float32)
    assert smallest_set(shares, 0.7).tolist() == [[True, True, False, False], [False, False, False, True]]
    assert smallest_set(shares, 0.81).sum(axis=1).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("posterior", "expected"),
    [
        (sleeves(long=0.95, short=0.05), ["long"]),
        (sleeves(sleeveless=0.3, short=0.6, long=0.1), ["short", "sleeveless"]),
        (sleeves(long=0.4, short=0.5, bare=0.1), ["short", "long"]),
        (sleeves(long=0.5, short=0.4, bare=0.1), None),
    ],
    ids=["sure", "rules out what is usual", "is read as fewer people are", "is read as most are"],
)
def test_what_tells_no_more_than_is_usual_is_not_said(
    posterior: dict[str, np.ndarray], expected: list[str] | None
) -> None:
    assert said(posterior, {"sleeve": 0.9}).sets().get("sleeve") == expected


# A person who stands upright and faces the camera; crop units.
STANDING = np.array(
    [(0.5, 0.15), (0.52, 0.13), (0.48, 0.13), (0.54, 0.14), (0.46, 0.14), (0.58, 0.25), (0.42, 0.25), (0.62, 0.38),
     (0.38, 0.38), (0.64, 0.5), (0.36, 0.5), (0.55, 0.5), (0.45, 0.5), (0.55, 0.7), (0.45, 0.7), (0.55, 0.9),
     (0.45, 0.9)], np.float32)  # fmt: skip
FULL = np.full((64, 64), 255, np.uint8)


def places(transforms: np.ndarray, part: str, points: np.ndarray) -> np.ndarray:
    transform = transforms[PARTS.index(part)]
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def test_keypoints_are_inside_their_parts() -> None:
    transforms = part_transforms(STANDING)
    for part, rows in (("head", [0, 1, 2, 3, 4]), ("torso", [5, 6, 11, 12]), ("left_arm", [5, 7, 9])):
        inside = places(transforms, part, STANDING[rows])
        assert (inside > 0).all() and (inside < 1).all(), part
    nose, ankle = places(transforms, "head", STANDING[:1])[0], places(transforms, "left_leg", STANDING[15:16])[0]
    assert 0.3 < nose[0] < 0.7 and ankle[1] > 0.8, "the part is upright"


def test_mirrored_person_has_the_same_parts_on_the_other_side() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    crossed = ([1, 0] + np.array([-1, 1]) * STANDING)[MIRRORED_KEYPOINTS].astype(np.float32)
    first = part_pictures(picture, FULL, part_transforms(STANDING))
    second = part_pictures(mirrored, FULL, part_transforms(crossed))
    for part in ("arm", "leg", "foot"):
        left, right = PARTS.index(f"left_{part}"), PARTS.index(f"right_{part}")
        difference = np.abs(first[left].astype(int) - second[right].astype(int))
        assert difference.mean() < 2, part


def test_colours_differ_from_the_face_where_there_is_cloth() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    picture[22:] = (0, 0, 255)
    colours = limb_colours(picture, FULL, STANDING).reshape(PLACES, 7)
    assert colours.size == COLOUR_FEATURES
    assert np.abs(colours[:36, 3:6]).max(axis=1).min() > 0.3, "limbs"
    assert np.abs(colours[36:39, 3:6]).max() < 0.05, "scalp"


def view(**sure: float) -> dict[str, FloatArray]:
    """Uniform posteriors; `long=0.7` is the probability of a long sleeve."""
    posterior = {name: np.full(len(values), 1 / len(values), np.float32) for name, values in VALUES.items()}
    for value, share in sure.items():
        rest = (1 - share) / (len(VALUES["sleeve"]) - 1)
        posterior["sleeve"] = np.where([each == value for each in VALUES["sleeve"]], share, rest).astype(np.float32)
    return posterior


def sleeve(memory: KindMemory) -> tuple[str, float]:
    return Wears(memory.posterior).likeliest()["sleeve"]


def test_equal_views_of_a_clip_make_little_surer() -> None:
    memory = KindMemory()
    for _ in range(50):
        memory.add(view(long=0.7))
    value, share = sleeve(memory)
    assert value == "long" and 0.7 < share < 0.85


def test_clothes_change_only_after_several_contradicting_views() -> None:
    memory = KindMemory()
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
        assert sleeve(memory)[0] == "long"
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "long", "not in a row"
    memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "short"


def views(people: int, seed: int = 0) -> KindViews:
    torch.manual_seed(seed)
    parts = torch.rand(people, len(PARTS), 4, PART_PX, PART_PX)
    return KindViews(parts, torch.randn(people, COLOUR_FEATURES), torch.randn(people, FEATURE_SIZE))


def network() -> KindNet:
    torch.manual_seed(1)
    return KindNet(KindNetConfig(token=8, hidden=16)).eval()


def test_unknown_features_count_as_the_mean() -> None:
    net, seen = network(), views(2)
    unknown = KindViews(seen.parts, seen.colours, torch.full_like(seen.features, torch.nan))
    mean = KindViews(seen.parts, seen.colours, net.mean_X.expand(2, -1))
    source = torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(net(unknown, source), net(mean, source))


RADIUS_M, PX_PER_M = 0.1, 500.0
SIZE = 600
CROWN, TEMPLES, EARS, JAW = range(len(SECTORS))


def whiteness(picture: Tensor) -> tuple[Tensor]:
    """A person is what is white."""
    assert picture.shape == (1, 256, 256, 3)
    return (picture.mean(dim=-1, keepdim=True),)


@pytest.fixture
def reader() -> OutlineReader:
    """Of a bare head that is a ball, with landmarks on its front."""
    directions = np.random.default_rng(0).normal(size=(4000, 3))
    ball = RADIUS_M * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    template = ball[ball[:, 2] < -0.05][:60]
    shares = np.full(len(template), 1 / len(template))
    return OutlineReader(cast(Any, whiteness), ball.astype(np.float32), template, shares)


def face(reader: OutlineReader, middle: tuple[float, float], *, turn: FloatArray | None = None) -> FaceLandmarks:
    points = PX_PER_M * reader._template @ (np.eye(3) if turn is None else turn).T
    points[:, :2] += middle
    return cast(FaceLandmarks, SimpleNamespace(points=points))


def picture(middle: tuple[int, int], *axes_m: float) -> Image:
    """An ellipse, half as wide and half as high."""
    drawn = np.zeros((SIZE, SIZE, 3), np.uint8)
    return np.asarray(
        cv2.ellipse(drawn, middle, [round(PX_PER_M * each) for each in axes_m], 0, 0, 360, (255,) * 3, -1)
    )


def read(reader: OutlineReader, image: Image, face: FaceLandmarks) -> FloatArray:
    outline = reader.read(image, face)
    assert outline is not None
    return outline


def test_hair_reaches_as_far_as_the_person_does(reader: OutlineReader) -> None:
    for beyond_m in (-0.015, 0.0, 0.04, 0.1):
        image = picture((300, 300), *2 * (RADIUS_M + beyond_m,))
        assert read(reader, image, face(reader, (300, 300))) == pytest.approx(beyond_m, abs=0.006)


def test_upright_is_along_the_head(reader: OutlineReader) -> None:
    tall, angle = picture((300, 300), RADIUS_M, RADIUS_M + 0.06), np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    lying = np.asarray(cv2.warpAffine(tall, cv2.getRotationMatrix2D((300, 300), -30, 1), (SIZE, SIZE)), np.uint8)
    for image, own in ((tall, face(reader, (300, 300))), (lying, face(reader, (300, 300), turn=turn))):
        outline = read(reader, image, own)
        assert outline[CROWN] == pytest.approx(0.055, abs=0.01) and outline[EARS] == pytest.approx(0, abs=0.01)


def test_what_the_picture_cuts_off_is_not_known(reader: OutlineReader) -> None:
    image = picture((300, 300), RADIUS_M + 0.02, RADIUS_M + 0.02)
    own = face(reader, (300, 300))
    cut = read(reader, np.ascontiguousarray(image[:318]), own)
    assert np.isnan(cut[JAW]) and cut[:JAW] == pytest.approx(0.02, abs=0.006)
    own.points[:, 1] -= 270
    assert reader.read(np.ascontiguousarray(image[270:]), own) is None, "the crown is cut off"


def test_face_that_is_turned_away_tells_nothing(reader: OutlineReader) -> None:
    angle = np.deg2rad(60)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
    assert reader.read(picture((300, 300), 0.1, 0.1), face(reader, (300, 300), turn=turn)) is None


def test_memory_is_the_mean_of_looks_and_keeps_what_is_hidden_later() -> None:
    memory = OutlineMemory()
    for number in range(8):
        hidden = np.nan if number > 3 else 0.1
        memory.add(np.array([0.02 + 0.004 * (-1) ** number, hidden], np.float32))
        memory.add(None)
    assert memory.mean == pytest.approx([0.02, 0.1], abs=2e-3)


IMAGE = np.zeros((8, 8, 3), np.uint8)
CROP, _NO_OUTPUT = CropBox(0, 0, 8), cast(PerceptionOutput, None)


def frame(time_s: float | None) -> CapturedFrame:
    return CapturedFrame(0, "clip.mp4", 0.0, cast(float, time_s), IMAGE, Camera(8, 8, 10.0))


def seen(identity: int, *, is_propagated: bool = False) -> ObservedPerson:
    return ObservedPerson(TrackedPerson(identity), 1.0, CROP, _NO_OUTPUT, is_propagated=is_propagated)


class ScriptedReader:
    """Says what `long` is, the probability of a long sleeve, and records who was read."""

    mass: Mapping[str, float] = {"sleeve": 0.65, "shoes": 0.9}

    def __init__(self) -> None:
        self.long = 0.7
        self.read_people: list[int] = []

    def read(self, image: Image, person: ObservedPerson) -> Mapping[str, FloatArray]:
        self.read_people.append(person.identity)
        rest = (1 - self.long) / 3
        return {**USUAL, "sleeve": np.array([rest, rest, rest, self.long], np.float32)}


class ScriptedOutlines:
    """Says that heads reach so far beyond the mean one, in every sector."""

    def __init__(self) -> None:
        self.beyond_m: float | None = None

    def read(self, image: Image, face: FaceLandmarks) -> FloatArray | None:
        return None if self.beyond_m is None else np.full(len(SECTORS), self.beyond_m, np.float32)


LANDMARKS = np.zeros(3, np.float32)


class Source(TrackedPeople):
    """A source that has begun, and the stage: somebody who comes is not in its first frame."""

    def __init__(self, *, stills: bool = False, brief: bool = False) -> None:
        super().__init__()
        self.reader, self.outlines = ScriptedReader(), ScriptedOutlines()
        readers = cast(KindReader, self.reader), cast(OutlineReader, self.outlines)
        self._stage = KindStage(*readers, stills=stills, brief=brief)
        self.perceived(frame(None), ())

    def update(
        self, *people: int | ObservedPerson, time_s: float | None = None, landmarks: FloatArray | None = None
    ) -> list[Blob]:
        """What is sent with a frame that shows these people."""
        perceived = self.perceived(frame(time_s), [seen(one) if isinstance(one, int) else one for one in people])
        labels = [cast(PersonLabels, SimpleNamespace(face_landmarks=landmarks))] * len(people)
        return self._stage.update(perceived, labels)


@pytest.fixture
def people() -> Source:
    return Source()


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks are passed on as they are."""
    monkeypatch.setattr(FaceLandmarks, "from_array", lambda array: array)


def test_people_are_read_one_per_frame_and_seldom(people: Source) -> None:
    read_in = []
    for number in range(40):
        before = len(people.reader.read_people)
        people.update(3, 5)
        assert len(people.reader.read_people) <= before + 1
        read_in += [number] * (len(people.reader.read_people) - before)
    assert people.reader.read_people == [3, 5, 3, 5, 3, 5]
    assert read_in == [3, 4, 18, 19, 33, 34]


def test_known_person_is_read_less_often_until_something_contradicts(people: Source) -> None:
    def readings(frames: int) -> int:
        before = len(people.reader.read_people)
        for _ in range(frames):
            people.update(3)
        return len(people.reader.read_people) - before

    people.reader.long = 0.97
    assert (readings(180), readings(90)) == (12, 2)
    people.reader.long = 0.01
    assert readings(45 + 60) >= 5


def test_posterior_is_sent_once_and_again_when_it_has_changed(people: Source) -> None:
    sent = [blob for _ in range(100) for blob in people.update(3)]
    assert [(blob.kind, blob.key) for blob in sent] == [(WEARS, 3)]
    assert Wears.decode(sent[0].data).sets() == {"sleeve": ["long"]}, "nothing of shoes, which are usual"
    people.reader.long = 0.01
    changed = [blob for _ in range(100) for blob in people.update(3)]
    assert changed and "long" not in Wears.decode(changed[-1].data).sets()["sleeve"]


def test_who_shows_nothing_costs_nothing(people: Source) -> None:
    people.reader.mass = {"shoes": 0.9}
    assert not [blob for _ in range(10) for blob in people.update(3)] and people.reader.read_people
    people.reset()
    assert not people.update(), "nor is there anything to withdraw"


def test_lost_person_is_withdrawn(people: Source) -> None:
    for _ in range(5):
        people.update(3)
    blobs = [blob for _ in range(60) for blob in people.update()]
    assert blobs == [Blob(WEARS, 3, WITHDRAWN)]
    people.reset()
    assert not people.update()


@pytest.mark.parametrize("fps", [5, 240])
def test_readings_are_as_frequent_at_any_frame_rate(people: Source, fps: int) -> None:
    for number in range(1, 4 * fps):
        people.update(3, time_s=number / fps)
    assert len(people.reader.read_people) == pytest.approx(8, abs=2)


def test_everybody_is_read_in_their_first_frame_of_a_brief_clip() -> None:
    people = Source(brief=True)
    assert [blob.key for blob in people.update(3)] == [3]
    assert [blob.key for blob in people.update(3, 5, 6)] == [5, 6]
    assert people.reader.read_people == [3, 5, 6]


@pytest.mark.usefixtures("faces")
def test_outline_comes_with_what_a_picture_shows() -> None:
    people = Source(stills=True)
    people.outlines.beyond_m = 0.02
    (blob,) = people.update(3, landmarks=LANDMARKS)
    assert Wears.decode(blob.data).outline == pytest.approx(0.02)
    (blob,) = people.update(3)
    assert Wears.decode(blob.data).outline is None, "no face was read"


@pytest.mark.usefixtures("faces")
def test_outline_is_sent_when_it_is_seen_and_when_it_changes(people: Source) -> None:
    sent = []
    for beyond_m in (None, 0.02, 0.022, 0.05):
        people.outlines.beyond_m = beyond_m
        blobs = [blob for _ in range(1500) for blob in people.update(3, landmarks=LANDMARKS)]
        sent.append([Wears.decode(blob.data).outline for blob in blobs])
    assert [len(each) for each in sent[:3]] == [1, 1, 0]
    assert sent[0] == [None] and sent[1][0] == pytest.approx(0.02)
    assert sent[3][-1] == pytest.approx(0.05, abs=0.008)


@pytest.mark.usefixtures("faces")
def test_who_has_an_outline_alone_is_withdrawn(people: Source) -> None:
    people.reader.mass, people.outlines.beyond_m = {"shoes": 0.9}, 0.02
    assert [blob.data for _ in range(5) for blob in people.update(3, landmarks=LANDMARKS)]
    assert [blob.data for _ in range(60) for blob in people.update()] == [WITHDRAWN]
