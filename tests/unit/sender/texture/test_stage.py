"""Who is looked at when, and what is said of whom."""

import numpy as np
import pytest

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.synthetic.assets.appearance import Appearance
from common.synthetic.renderer.renderer import Renderer
from common.texture.point_colours import decode
from sender.texture import stage as stage_module
from sender.texture.point_colour_memory import PointColourMemory
from sender.texture.stage import TextureStage
from tests.support.synthetic_observation import CAMERA, Pictured, pictured

SPACE = LabelSpace.load()


@pytest.fixture(scope="module")
def front(renderer: Renderer, model: BodyModel, appearance: Appearance) -> Pictured:
    return pictured(renderer, model, appearance)


@pytest.fixture
def texture_stage(model: BodyModel) -> TextureStage:
    return TextureStage(SPACE, model)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[PointColourMemory]:
    """Grows by the memory that each look goes to."""
    seen: list[PointColourMemory] = []
    real = PointColourMemory.see

    def noted(self: PointColourMemory, *arguments: object) -> None:
        seen.append(self)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PointColourMemory, "see", noted)
    return seen


def update(texture_stage: TextureStage, picture: Pictured, *identities: int) -> list[tuple[int, bytes]]:
    observed = [picture.observed(identity) for identity in identities]
    people = [picture.labels(SPACE, identity) for identity in identities]
    return texture_stage.update(picture.image, CAMERA, observed, people)


def test_what_is_sent_are_the_colours_of_the_picture(texture_stage: TextureStage, front: Pictured) -> None:
    sent = [entry for _ in range(40) for entry in update(texture_stage, front, 7)]
    assert sent and {identity for identity, _ in sent} == {7}
    learnt = decode(sent[-1][1])
    clear = learnt.seen & front.truly_visible()
    error = np.abs(learnt.colours[clear].astype(float) - front.colours_at_points()[clear])
    assert learnt.seen.mean() > 0.15 and error.mean() < 8


def test_sending_settles_to_silence(texture_stage: TextureStage, front: Pictured) -> None:
    sent = [number for number in range(500) if update(texture_stage, front, 0)]
    assert 1 <= len(sent) <= 4 and sent[-1] < 200


def test_each_person_is_looked_at_every_fifth_frame(
    texture_stage: TextureStage, front: Pictured, looks: list[PointColourMemory]
) -> None:
    for _ in range(25):
        update(texture_stage, front, 1, 2)
    assert len(looks) == 10 and [looks.count(one) for one in set(looks)] == [5, 5]


def test_a_crowd_costs_one_look_a_frame(
    texture_stage: TextureStage, front: Pictured, looks: list[PointColourMemory]
) -> None:
    for _ in range(24):
        update(texture_stage, front, *range(8))
    assert len(looks) == 24 and [looks.count(one) for one in set(looks)] == [3] * 8


def test_nobody_there(texture_stage: TextureStage, front: Pictured) -> None:
    assert update(texture_stage, front) == []


def test_who_is_long_gone_is_taken_back(
    texture_stage: TextureStage, front: Pictured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_FORGET_AFTER_FRAMES", 12)
    while not update(texture_stage, front, 3):
        pass
    said = [entry for _ in range(30) for entry in update(texture_stage, front)]
    assert [identity for identity, _ in said] == [3]
    assert not decode(said[0][1]).seen.any() and len(said[0][1]) < 40


def test_a_short_absence_is_nothing(
    texture_stage: TextureStage, front: Pictured, looks: list[PointColourMemory]
) -> None:
    while not update(texture_stage, front, 3):
        pass
    assert all(not update(texture_stage, front) for _ in range(100))
    for _ in range(10):
        update(texture_stage, front, 3)
    assert len(set(looks)) == 1


def test_reset_forgets_everybody(texture_stage: TextureStage, front: Pictured, looks: list[PointColourMemory]) -> None:
    while not update(texture_stage, front, 3):
        pass
    texture_stage.reset()
    said = update(texture_stage, front, 4)
    assert [identity for identity, _ in said] == [3] and not decode(said[0][1]).seen.any()
    assert len(set(looks)) == 2
