"""Hair that is let out or taken in to an outline."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel, load_head_shapes
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.head_outline import SECTORS
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.body.skinning import BodySkin
from receiver.outfits import guidance
from receiver.outfits.dressing import PARTS, Dresser, Outfit, Shells
from receiver.outfits.guidance import Displacements, HairOutline, Outfits
from receiver.outfits.mixture import PLAIN
from tests.unit.receiver.outfits.test_mixture import sample, wears

CROWN, TEMPLES, EARS, JAW = range(len(SECTORS))
NAN = float("nan")


@pytest.fixture(scope="module")
def template() -> BodyTemplate:
    return BodyTemplate.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def dresser(template: BodyTemplate) -> Dresser:
    return Dresser(template, Shells.load())


@pytest.fixture(scope="module")
def outlines(template: BodyTemplate) -> HairOutline:
    return HairOutline(template)


def outlined(
    dresser: Dresser, outlines: HairOutline, outline: list[float], skull: FloatArray | None = None, **kinds: str
) -> tuple[Outfit, Outfit]:
    """Before and after."""
    latent = sample(wears(**{name: {kind: 1.0} for name, kind in kinds.items()}), 3)
    outfit = dresser.dress(latent)
    skull = np.zeros_like(outfit.displacement) if skull is None else skull
    return outfit, outlines.with_hair(outfit, latent.kinds, np.array(outline, np.float32), skull)


def reach(outlines: HairOutline, outfit: Outfit, skull: FloatArray | float = 0.0) -> FloatArray:
    return outlines._reach(outlines._about + outfit.displacement + skull) - outlines._bare


@pytest.mark.parametrize("hair", ["short", "medium", "long", "bald"])
@pytest.mark.parametrize("top_m", [0.005, 0.02, 0.05])
def test_head_has_the_outline(dresser: Dresser, outlines: HairOutline, hair: str, top_m: float) -> None:
    _, after = outlined(dresser, outlines, [top_m, top_m, NAN, NAN], hair=hair, headwear="none")
    assert reach(outlines, after)[:EARS] == pytest.approx(top_m, abs=0.009)


@pytest.mark.parametrize(("hair", "least_m"), [("short", 0.003), ("bald", -0.006)])
def test_head_is_no_smaller_than_heads_are(dresser: Dresser, outlines: HairOutline, hair: str, least_m: float) -> None:
    _, after = outlined(dresser, outlines, [-0.03, -0.03, NAN, NAN], hair=hair, headwear="none")
    assert reach(outlines, after)[:EARS] == pytest.approx(least_m, abs=0.005)


def test_hair_is_no_cone(dresser: Dresser, outlines: HairOutline) -> None:
    _, after = outlined(dresser, outlines, [0.09, 0.01, NAN, NAN], hair="short", headwear="none")
    assert reach(outlines, after)[CROWN] == pytest.approx(0.03, abs=0.007)


def test_own_skull_is_part_of_the_outline(dresser: Dresser, outlines: HairOutline, template: BodyTemplate) -> None:
    skull = np.zeros_like(template.rest)
    skull[outlines._head] = 0.05 * outlines._about[outlines._head]
    _, after = outlined(dresser, outlines, [0.02, 0.02, NAN, NAN], skull, hair="short", headwear="none")
    assert reach(outlines, after, skull)[:EARS] == pytest.approx(0.02, abs=0.007)


def test_long_hair_is_as_wide_at_the_jaw_and_short_hair_stays(dresser: Dresser, outlines: HairOutline) -> None:
    narrow, wide = (
        outlined(dresser, outlines, [NAN, NAN, NAN, jaw], hair="long", headwear="none")[1] for jaw in (0.01, 0.06)
    )
    assert reach(outlines, wide)[JAW] > reach(outlines, narrow)[JAW] + 0.03
    before, after = outlined(dresser, outlines, [NAN, NAN, NAN, 0.06], hair="short", headwear="none")
    np.testing.assert_allclose(after.displacement, before.displacement, atol=1e-6)


def test_what_is_not_known_and_the_face_stay(dresser: Dresser, outlines: HairOutline, template: BodyTemplate) -> None:
    before, after = outlined(dresser, outlines, 4 * [NAN], hair="medium", headwear="none")
    np.testing.assert_allclose(after.displacement, before.displacement, atol=1e-6)
    before, after = outlined(dresser, outlines, [0.08, 0.08, 0.08, 0.08], hair="short", headwear="none")
    others = (template.region != REGION_INDEX["scalp"]) & (before.part != PARTS.index("hair"))
    assert np.array_equal(before.displacement[others], after.displacement[others])
    assert not np.array_equal(before.displacement, after.displacement)


def test_headwear_follows_at_the_crown_alone(dresser: Dresser, outlines: HairOutline) -> None:
    before, after = outlined(dresser, outlines, [0.09, 0.09, 0.09, 0.09], hair="short", headwear="helmet")
    assert reach(outlines, after)[CROWN] == pytest.approx(0.09, abs=0.007)
    assert reach(outlines, after)[EARS] == pytest.approx(reach(outlines, before)[EARS], abs=0.003)


class CountingOutfits(Outfits):
    """Counts the outfits that are made."""

    made = 0

    def worn(self, wears, identity, skull):  # type: ignore[no-untyped-def]
        self.made += 1
        return super().worn(wears, identity, skull)


@pytest.fixture
def outfits(template: BodyTemplate) -> CountingOutfits:
    return CountingOutfits.load(template)


@pytest.fixture
def worn(outfits: CountingOutfits) -> Displacements:
    skin = BodySkin.from_model(BodyModel.load())
    head = load_head_shapes(skin.model)[:, skin.template.kept]
    return Displacements(head, outfits, skin.span)


def person(identity: int = 0, **labels: FloatArray) -> PersonLabels:
    return PersonLabels(identity, 1.0, {"shape": np.zeros(10, np.float32), **labels})


def test_an_outfit_is_made_once_whatever_the_pose(worn: Displacements, outfits: CountingOutfits) -> None:
    first, moved = (worn.clothes(person(left_arm=np.full(9, arm, np.float32))).displacement for arm in (0.0, 1.0))
    assert torch.equal(first, moved) and outfits.made == 1


def test_surface_labels_of_older_senders_change_nothing(worn: Displacements, outfits: CountingOutfits) -> None:
    sent = replace(person(surface=np.full(24, 2.0, np.float32)), confidence={"surface": 1.0})
    assert torch.equal(worn.clothes(sent).displacement, worn.clothes(person()).displacement) and outfits.made == 1


def test_clothes_of_others_are_made_at_once(worn: Displacements, outfits: CountingOutfits) -> None:
    first = worn.clothes(person()).displacement
    assert not torch.equal(first, worn.clothes(person(3)).displacement) and outfits.made == 2


def test_people_without_labels_wear_something(worn: Displacements) -> None:
    field = worn.clothes(PersonLabels(0, 1.0, {})).displacement
    assert torch.isfinite(field).all() and float(field.norm(dim=-1).mean()) > 0.002


def test_what_was_forgotten_is_made_to_the_same(
    worn: Displacements, outfits: CountingOutfits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "_REMEMBERED", 2)
    first = worn.clothes(person()).displacement
    for identity in (1, 2):
        worn.clothes(person(identity))
    assert torch.equal(worn.clothes(person()).displacement, first) and outfits.made == 4


def test_the_kinds_that_are_known_count(worn: Displacements) -> None:
    shares = np.zeros(6, np.float32)
    shares[VALUES["bottom"].index("skirt_long")] = 1
    skirt = Wears({**PLAIN.posterior, "bottom": shares})
    changed = worn.clothes(person(), skirt).displacement - worn.clothes(person()).displacement
    assert float(changed.norm(dim=-1).max()) > 0.05


def test_hair_has_the_outline_that_was_seen(worn: Displacements) -> None:
    narrow, wide = (replace(PLAIN, outline=np.full(4, out_m, np.float32)) for out_m in (0.01, 0.06))
    assert not torch.equal(worn.clothes(person(), narrow).displacement, worn.clothes(person(), wide).displacement)


def test_head_shape_displaces_the_head_under_what_is_worn_and_zero_or_none_is_the_mean(worn: Displacements) -> None:
    first = worn.clothes(person()).displacement
    head = np.zeros(16, np.float32)
    assert torch.equal(worn.clothes(person(head_shape=head.copy())).displacement, first)
    head[0] = 2.0
    moved = worn.clothes(person(head_shape=head)).displacement - first
    region = BodyTemplate.from_model(BodyModel.load()).region
    on_head = torch.from_numpy(np.isin(region, [REGION_INDEX["face"], REGION_INDEX["scalp"]]))
    assert moved[on_head].norm(dim=1).mean() > 1e-3
    assert float(moved[torch.from_numpy(region) == REGION_INDEX["hips"]].abs().max()) == 0.0
