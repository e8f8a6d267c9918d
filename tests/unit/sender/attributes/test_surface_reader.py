"""Who is read when, and what people get, with an untrained network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE
from common.frames import PersonLabels
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.garments import Canvas
from common.synthetic.renderer import Renderer
from sender.attributes.surface import SurfaceNet, SurfaceNetConfig, SurfaceReader
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput
from sender.perception.track import ObservedPerson
from tests.support.pictures.synthetic_observation import CAMERA, RenderedPerson, render_person
from tests.support.pictures.tracked_people import TrackedPeople


class ScriptedStage(SurfaceReader):
    """Reads constants and records who was read."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        super().__init__(SurfaceNet(SurfaceNetConfig(width=32, heads=2, depth=1)), space, body)
        self.read_people: list[int] = []

    def _read(self, view, person, wearer) -> None:  # type: ignore[no-untyped-def]
        self.read_people.append(person.seen.identity)
        super()._read(view, person, wearer)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def rendered(body: BodyModel) -> RenderedPerson:
    return render_person(Renderer(Canvas.from_model(body)), body, sample_appearance(np.random.default_rng(0)))


@pytest.fixture
def stage(body: BodyModel, monkeypatch: pytest.MonkeyPatch) -> ScriptedStage:
    monkeypatch.setattr(PerceptionOutput, "features", lambda self: torch.zeros(1, FEATURE_SIZE))
    return ScriptedStage(LabelSpace.load(), body)


def observed(rendered: RenderedPerson, *identities: int) -> tuple[list[ObservedPerson], list[PersonLabels]]:
    space = LabelSpace.load()
    return [rendered.observed(one) for one in identities], [rendered.labels(space, one) for one in identities]


class Clip(TrackedPeople):
    """What the stage says of people from frame to frame."""

    def __init__(self, stage: ScriptedStage) -> None:
        super().__init__()
        self.stage = stage

    def label(self, rendered: RenderedPerson, *identities: int) -> list[PersonLabels]:
        return self.read(self.stage, rendered.image, CAMERA, *observed(rendered, *identities))


@pytest.fixture
def clip(stage: ScriptedStage) -> Clip:
    return Clip(stage)


def test_people_who_appear_are_read_at_once(clip: Clip, rendered: RenderedPerson) -> None:
    people = clip.label(rendered, 3, 5)
    assert clip.stage.read_people == [3, 5]
    for person in people:
        assert person.labels["surface"].shape == person.sigma["surface"].shape == (SURFACE_SIZE,)
        assert np.isfinite(person.labels["surface"]).all() and 0 <= person.confidence["surface"] <= 1


def test_later_one_person_a_frame_is_read_and_each_in_every_fifth(clip: Clip, rendered: RenderedPerson) -> None:
    for _ in range(11):
        clip.label(rendered, 3, 5)
    assert clip.stage.read_people == [3, 5, 3, 5, 3]


def test_side_that_is_known_is_read_more_rarely(clip: Clip, rendered: RenderedPerson) -> None:
    read = []
    for _ in range(60):
        clip.label(rendered, 3)
        read.append(len(clip.stage.read_people))
    assert [frame for frame in range(60) if frame == 0 or read[frame] > read[frame - 1]] == [0, 5, 10, 15, 30, 45]


def test_heading_is_the_angle_from_the_camera_to_the_front(stage: ScriptedStage, body: BodyModel) -> None:
    renderer, painted = Renderer(Canvas.from_model(body)), sample_appearance(np.random.default_rng(1))
    headings = []
    for yaw in (0.0, 0.5 * np.pi):
        turned = render_person(renderer, body, painted, yaw)
        people, labels = observed(turned, 0)
        headings.append(stage.view(turned.image, CAMERA, people[0], labels[0].labels)[1])
    assert headings[0] == pytest.approx(0, abs=0.01)
    assert abs(headings[1]) == pytest.approx(np.pi / 2, abs=0.02)


def test_propagated_masks_are_not_read(clip: Clip, rendered: RenderedPerson) -> None:
    people, labels = observed(rendered, 3)
    for frame in range(30):
        propagated = [replace(people[0], is_propagated=frame > 0)]
        clip.read(clip.stage, rendered.image, CAMERA, propagated, labels, frame / 30)
    assert len(clip.stage.read_people) == 1


@pytest.mark.parametrize("fps", [5, 240])
def test_readings_are_as_frequent_at_any_frame_rate(clip: Clip, rendered: RenderedPerson, fps: int) -> None:
    people, labels = observed(rendered, 3)
    for frame in range(2 * fps):
        clip.read(clip.stage, rendered.image, CAMERA, people, labels, frame / fps)
    assert len(clip.stage.read_people) == pytest.approx(7, abs=1)
