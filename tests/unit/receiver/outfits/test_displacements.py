from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel, load_head_shapes
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.body.skinning import BodySkin
from receiver.outfits import guidance
from receiver.outfits.guidance import Displacements, Guidance
from receiver.outfits.mixture import PLAIN


class CountingGuidance(Guidance):
    """Counts the outfits that are made."""

    made = 0

    def worn(self, latent, surface, confidence):  # type: ignore[no-untyped-def]
        self.made += 1
        return super().worn(latent, surface, confidence)


@pytest.fixture(scope="module")
def space() -> SurfaceSpace:
    return SurfaceSpace.load()


@pytest.fixture
def outfits(space: SurfaceSpace) -> CountingGuidance:
    return CountingGuidance.load(BodyTemplate.from_model(BodyModel.load()), space)


@pytest.fixture
def worn(space: SurfaceSpace, outfits: CountingGuidance) -> Displacements:
    skin = BodySkin.from_model(BodyModel.load())
    head = load_head_shapes(skin.model)[:, skin.template.kept]
    return Displacements(space, head, outfits, skin.span)


def person(
    identity: int = 0, surface: float = 0.5, arm: float = 0.0, entries: int = SURFACE_SIZE, confidence: float = 1.0
) -> PersonLabels:
    labels = {
        "surface": np.full(entries, surface, np.float32),
        "shape": np.zeros(10, np.float32),
        "left_arm": np.full(9, arm, np.float32),
    }
    return PersonLabels(identity, 1.0, labels, confidence={"surface": confidence})


UNSURE = 0.5


def test_an_outfit_is_made_once_whatever_the_pose(worn: Displacements, outfits: CountingGuidance) -> None:
    first, moved = (worn.clothes(person(arm=arm, confidence=UNSURE)).displacement for arm in (0.0, 1.0))
    assert torch.equal(first, moved) and outfits.made == 1


@pytest.mark.parametrize("other", [person(surface=-0.5, confidence=UNSURE), person(identity=3, confidence=UNSURE)])
def test_other_clothes_are_made_at_once(worn: Displacements, outfits: CountingGuidance, other: PersonLabels) -> None:
    first = worn.clothes(person(confidence=UNSURE)).displacement
    assert not torch.equal(first, worn.clothes(other).displacement) and outfits.made == 2


def test_people_without_labels_wear_something(worn: Displacements) -> None:
    field = worn.clothes(PersonLabels(0, 1.0, {})).displacement
    assert torch.isfinite(field).all() and float(field.norm(dim=-1).mean()) > 0.002


def test_what_was_forgotten_is_made_to_the_same(
    worn: Displacements, outfits: CountingGuidance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "_REMEMBERED", 2)
    first = worn.clothes(person(confidence=UNSURE)).displacement
    for value in (1.0, 2.0):
        worn.clothes(person(surface=value, confidence=UNSURE))
    assert torch.equal(worn.clothes(person(confidence=UNSURE)).displacement, first) and outfits.made == 4


def test_clothes_that_are_sure_are_what_the_labels_say(
    worn: Displacements, outfits: CountingGuidance, space: SurfaceSpace
) -> None:
    torch.testing.assert_close(worn.clothes(person()).displacement, space.decode(torch.full((1, SURFACE_SIZE), 0.5))[0])
    assert outfits.made == 0


@pytest.mark.parametrize("unsure", [person(confidence=0.4), person(entries=23), person(entries=4)])
def test_clothes_that_are_not_sure_are_generated(
    worn: Displacements, outfits: CountingGuidance, unsure: PersonLabels
) -> None:
    assert not torch.equal(worn.clothes(unsure).displacement, worn.clothes(person()).displacement) and outfits.made == 1


def test_the_kinds_that_are_known_count(worn: Displacements) -> None:
    shares = np.zeros(6, np.float32)
    shares[VALUES["bottom"].index("skirt_long")] = 1
    skirt = Wears({**PLAIN.posterior, "bottom": shares})
    unsure = person(confidence=0)
    assert (
        float((worn.clothes(unsure, skirt).displacement - worn.clothes(unsure).displacement).norm(dim=-1).max()) > 0.05
    )


def test_head_shape_displaces_the_head_under_what_is_worn_and_zero_or_none_is_the_mean(worn: Displacements) -> None:
    plain = person(confidence=UNSURE)
    first = worn.clothes(plain).displacement
    head = np.zeros(16, np.float32)
    assert torch.equal(worn.clothes(replace(plain, labels={**plain.labels, "head_shape": head})).displacement, first)
    head[0] = 2.0
    moved = worn.clothes(replace(plain, labels={**plain.labels, "head_shape": head})).displacement - first
    region = BodyTemplate.from_model(BodyModel.load()).region
    on_head = torch.from_numpy(np.isin(region, [REGION_INDEX["face"], REGION_INDEX["scalp"]]))
    assert moved[on_head].norm(dim=1).mean() > 1e-3
    assert float(moved[torch.from_numpy(region) == REGION_INDEX["hips"]].abs().max()) == 0.0
