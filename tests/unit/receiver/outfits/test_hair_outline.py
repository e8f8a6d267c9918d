"""Hair that is let out or taken in to an outline."""

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.head_outline import SECTORS
from receiver.outfits.dressing import PARTS, Dresser, Outfit, Shells
from receiver.outfits.guidance import HairOutline
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
