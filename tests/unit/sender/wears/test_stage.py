"""Who is read when, and what is sent, with scripted readings."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from common.arrays import FloatArray, Image
from common.blobs import WEARS, Blob
from common.frames import PersonLabels
from common.head_outline import SECTORS
from common.wears import USUAL, WITHDRAWN, Wears
from sender.face.landmarks import FaceLandmarks
from sender.perception.observed_person import ObservedPerson
from sender.wears.outline import OutlineReader
from sender.wears.stage import WearsReader, WearsStage

FRAME = cast(Any, SimpleNamespace(image=np.zeros((8, 8, 3), np.uint8), media_time_s=1.0))
PICTURE = cast(Any, SimpleNamespace(image=np.zeros((8, 8, 3), np.uint8), media_time_s=0.0))


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


@pytest.fixture
def reader() -> ScriptedReader:
    return ScriptedReader()


LANDMARKS = np.zeros(3, np.float32)


def labels(count: int, landmarks: FloatArray | None = None) -> list[PersonLabels]:
    return [cast(PersonLabels, SimpleNamespace(face_landmarks=landmarks))] * count


def update(stage: WearsStage, *identities: int, landmarks: FloatArray | None = None) -> list[Blob]:
    observed = [cast(ObservedPerson, SimpleNamespace(identity=one, is_propagated=False)) for one in identities]
    return stage.update(FRAME, observed, labels(len(observed), landmarks))


def test_people_are_read_one_per_frame_and_seldom(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    read_in = []
    for frame in range(40):
        before = len(reader.read_people)
        update(stage, 3, 5)
        assert len(reader.read_people) <= before + 1
        read_in += [frame] * (len(reader.read_people) - before)
    assert reader.read_people == [3, 5, 3, 5, 3, 5]
    assert read_in == [3, 4, 18, 19, 33, 34]


def test_known_person_is_read_less_often_until_something_contradicts(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))

    def readings(frames: int) -> int:
        before = len(reader.read_people)
        for _ in range(frames):
            update(stage, 3)
        return len(reader.read_people) - before

    reader.long = 0.97
    assert (readings(180), readings(90)) == (12, 2)
    reader.long = 0.01
    assert readings(45 + 60) >= 5


def test_posterior_is_sent_once_and_again_when_it_has_changed(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    sent = [blob for _ in range(100) for blob in update(stage, 3)]
    assert [(blob.kind, blob.key) for blob in sent] == [(WEARS, 3)]
    assert Wears.decode(sent[0].data).sets() == {"sleeve": ["long"]}, "nothing of shoes, which are usual"
    reader.long = 0.01
    changed = [blob for _ in range(100) for blob in update(stage, 3)]
    assert changed and "long" not in Wears.decode(changed[-1].data).sets()["sleeve"]


def test_who_shows_nothing_costs_nothing(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    reader.mass = {"shoes": 0.9}
    assert not [blob for _ in range(10) for blob in update(stage, 3)] and reader.read_people
    stage.reset()
    assert not update(stage), "nor is there anything to withdraw"


def test_everybody_in_a_picture_is_read(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    people = [cast(ObservedPerson, SimpleNamespace(identity=one, is_propagated=False)) for one in (3, 5)]
    for _ in range(2):
        stage.reset()
        assert [blob.key for blob in stage.update(PICTURE, people, labels(2)) if blob.data != WITHDRAWN] == [3, 5]


def test_lost_person_is_withdrawn(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    for _ in range(5):
        update(stage, 3)
    blobs = [blob for _ in range(310) for blob in update(stage)]
    assert blobs == [Blob(WEARS, 3, WITHDRAWN)]
    stage.reset()
    assert not update(stage)


def test_still_has_what_everybody_wears(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader), stills=True)
    for _ in range(2):
        assert [blob.key for blob in update(stage, 3, 5)] == [3, 5]
    assert reader.read_people == [3, 5, 3, 5]


@pytest.mark.parametrize("fps", [5, 30, 60, 240])
def test_readings_are_as_frequent_at_any_frame_rate(reader: ScriptedReader, fps: int) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    person = cast(ObservedPerson, SimpleNamespace(identity=3, is_propagated=False))
    for frame in range(1, 4 * fps):
        stage.update(cast(Any, SimpleNamespace(image=FRAME.image, media_time_s=frame / fps)), [person], labels(1))
    assert len(reader.read_people) == pytest.approx(8, abs=2)


def test_propagated_masks_are_not_read(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader))
    for number in range(1, 90):
        people = [SimpleNamespace(identity=identity, is_propagated=identity == 5 and number > 1) for identity in (3, 5)]
        frame = SimpleNamespace(image=FRAME.image, media_time_s=number / 30)
        stage.update(cast(Any, frame), cast(list[ObservedPerson], people), labels(2))
    assert reader.read_people.count(3) > 3 and reader.read_people.count(5) <= 1


def test_everybody_is_read_in_their_first_frame_of_a_brief_clip(reader: ScriptedReader) -> None:
    stage = WearsStage(cast(WearsReader, reader), brief=True)
    assert [blob.key for blob in update(stage, 3)] == [3]
    assert [blob.key for blob in update(stage, 3, 5, 6)] == [5, 6]
    assert reader.read_people == [3, 5, 6]


class ScriptedOutlines:
    """Says that heads reach so far beyond the mean one, in every sector."""

    def __init__(self) -> None:
        self.beyond_m: float | None = None

    def read(self, image: Image, face: FaceLandmarks) -> FloatArray | None:
        return None if self.beyond_m is None else np.full(len(SECTORS), self.beyond_m, np.float32)


@pytest.fixture
def outlines(monkeypatch: pytest.MonkeyPatch) -> ScriptedOutlines:
    monkeypatch.setattr(FaceLandmarks, "from_array", lambda array: array)
    return ScriptedOutlines()


def test_outline_comes_with_what_a_picture_shows(reader: ScriptedReader, outlines: ScriptedOutlines) -> None:
    stage = WearsStage(cast(WearsReader, reader), cast(OutlineReader, outlines), stills=True)
    outlines.beyond_m = 0.02
    (blob,) = update(stage, 3, landmarks=LANDMARKS)
    assert Wears.decode(blob.data).outline == pytest.approx(0.02)
    (blob,) = update(stage, 3)
    assert Wears.decode(blob.data).outline is None, "no face was read"


def test_outline_is_sent_when_it_is_seen_and_when_it_changes(
    reader: ScriptedReader, outlines: ScriptedOutlines
) -> None:
    stage = WearsStage(cast(WearsReader, reader), cast(OutlineReader, outlines))
    sent = []
    for beyond_m in (None, 0.02, 0.022, 0.05):
        outlines.beyond_m = beyond_m
        blobs = [blob for _ in range(1500) for blob in update(stage, 3, landmarks=LANDMARKS)]
        sent.append([Wears.decode(blob.data).outline for blob in blobs])
    assert [len(each) for each in sent[:3]] == [1, 1, 0]
    assert sent[0] == [None] and sent[1][0] == pytest.approx(0.02)
    assert sent[3][-1] == pytest.approx(0.05, abs=0.008)


def test_who_has_an_outline_alone_is_withdrawn(reader: ScriptedReader, outlines: ScriptedOutlines) -> None:
    stage = WearsStage(cast(WearsReader, reader), cast(OutlineReader, outlines))
    reader.mass, outlines.beyond_m = {"shoes": 0.9}, 0.02
    assert [blob.data for _ in range(5) for blob in update(stage, 3, landmarks=LANDMARKS)]
    assert [blob.data for _ in range(310) for blob in update(stage)] == [WITHDRAWN]
