"""What nobody has seen continues what was seen of the same part."""

import numpy as np
import pytest

from common.arrays import BoolArray, ByteArray, IntArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout
from receiver.outfits.dressing import PARTS
from receiver.texture.filling import SurfaceFilling

NAMES = np.array([name.split(".")[0] for name in REGIONS])
ORANGE, BLUE, SKIN = (230, 140, 30), (30, 40, 160), (190, 140, 120)
COLOURS = {"skin": SKIN, "top": ORANGE, "bottom": BLUE, "shoes": (20, 20, 20), "hair": (60, 40, 30)}


@pytest.fixture(scope="module")
def filling(template: BodyTemplate, layout: AtlasLayout) -> SurfaceFilling:
    return SurfaceFilling(template, layout)


def part_of(template: BodyTemplate, **parts: str) -> IntArray:
    """(V',) the part of each vertex, from those of the regions; others are skin."""
    return np.array([PARTS.index(parts.get(name, "skin")) for name in NAMES[template.region]])


def painted(filling: SurfaceFilling, part: IntArray) -> ByteArray:
    """(T, 3) each part in its colour."""
    return np.array([COLOURS[name] for name in PARTS], np.uint8)[part[filling.vertex]]


def inside(filling: SurfaceFilling, part: IntArray) -> BoolArray:
    """(T,) texels none of whose triangle's vertices has neighbours of another part."""
    edges = filling.edges.tocoo()
    rim = edges.row[part[edges.row] != part[edges.col]]
    return np.asarray(~np.isin(filling.corners, rim).any(axis=1))


def test_what_is_known_stays_as_it_is(filling: SurfaceFilling, layout: AtlasLayout) -> None:
    rng = np.random.default_rng(0)
    colours, known = rng.integers(0, 256, (len(layout.texel), 3), np.uint8), rng.random(len(layout.texel)) < 0.3
    whole = filling.surface(colours, known).filled({})
    np.testing.assert_array_equal(whole[known], colours[known])


def test_no_colour_crosses_to_another_part(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate
) -> None:
    """Of a person in orange and blue, a few texels of each are known."""
    part = part_of(template, chest="top", upper_arm="top", hips="bottom", thigh="bottom", shin="bottom")
    colours = painted(filling, part)
    known = np.random.default_rng(1).random(len(layout.texel)) < 0.1
    surface = filling.surface(np.where(known[:, None], colours, 0).astype(np.uint8), known, part)
    assert not surface.unseen
    rest = inside(filling, part)
    assert rest.mean() > 0.8
    assert np.abs(surface.filled({}).astype(int) - colours)[rest].max() <= 1


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.5])
def test_parts_meet_along_a_straight_and_soft_line(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate, slope: float
) -> None:
    """A top ends at a slanting line over the chest; edges are 17 mm long there."""
    down = (template.rest @ (np.sin(slope), np.cos(slope), 0)).astype(np.float32)
    down -= np.median(down[NAMES[template.region] == "chest"])
    part = np.where(down > 0, PARTS.index("top"), PARTS.index("skin"))
    below_m = filling.barycentric @ down
    known = (np.random.default_rng(1).random(len(layout.texel)) < 0.02) & (np.abs(below_m) > 0.02)
    colours = np.where(below_m[:, None] > 0, ORANGE, SKIN).astype(np.uint8)
    whole = filling.surface(np.where(known[:, None], colours, 0).astype(np.uint8), known, part).filled({})
    axis = np.subtract(ORANGE, SKIN)
    share = (whole - np.array(SKIN)) @ axis / (axis @ axis)
    hidden = (NAMES[layout.region] == "chest") & ~known
    wrong = hidden & ((share > 0.5) != (below_m > 0))
    assert np.mean(np.abs(below_m[wrong])) < 0.0025
    soft = hidden & (np.abs(share - 0.5) < 0.4)
    assert 0.001 < np.mean(np.abs(below_m[soft])) < 0.004
    assert np.abs(whole.astype(int) - colours)[hidden & (np.abs(below_m) > 0.03)].max() <= 1


def test_part_that_nobody_saw_has_its_usual_colour_whatever_is_beside_it(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate
) -> None:
    part = part_of(template, chest="top", upper_arm="top", hips="bottom", thigh="bottom", shin="bottom", foot="shoes")
    colours, upper = painted(filling, part), np.isin(NAMES[layout.region], ["face", "chest", "upper_arm"])
    # Some cloth of the top hangs over the hips, and is taken for them.
    over = np.flatnonzero(layout.region == REGION_INDEX["hips"])[:300]
    colours[over], known = ORANGE, upper.copy()
    known[over] = True
    surface = filling.surface(colours, known, part)
    assert surface.unseen == ("bottom", "shoes")
    whole = surface.filled({"bottom": np.array([50, 50, 55], np.float32), "shoes": np.zeros(3, np.float32)})
    hidden = np.isin(NAMES[layout.region], ["hips", "thigh", "shin"]) & ~known & inside(filling, part)
    np.testing.assert_array_equal(whole[hidden], np.broadcast_to((50, 50, 55), (hidden.sum(), 3)))


def test_side_that_nobody_saw_is_like_the_other_one(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate
) -> None:
    """A sleeve has another colour than the rest of the top."""
    part = part_of(template, chest="top", upper_arm="top", forearm="top")
    colours = painted(filling, part)
    colours[np.isin(NAMES[layout.region], ["forearm"])] = BLUE
    known = template.rest[filling.vertex, 0] > 0
    whole = filling.surface(np.where(known[:, None], colours, 0).astype(np.uint8), known, part).filled({})
    hidden = (NAMES[layout.region] == "forearm") & ~known
    assert np.median(np.abs(whole[hidden].astype(int) - BLUE)) < 6
    hidden = (NAMES[layout.region] == "chest") & ~known
    assert np.median(np.abs(whole[hidden].astype(int) - ORANGE)) < 6


def test_back_of_a_head_is_hair_where_its_front_is_half_forehead(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate
) -> None:
    part, depth = part_of(template, scalp="hair"), template.rest[filling.vertex, 2]
    scalp = NAMES[layout.region] == "scalp"
    near, middle = np.quantile(depth[scalp], [0.2, 0.5])
    colours, front = painted(filling, part), depth < middle
    colours[scalp & (depth < near)] = SKIN
    whole = filling.surface(np.where(front[:, None], colours, 0).astype(np.uint8), front, part).filled({})
    back = scalp & (depth > np.quantile(depth[scalp], 0.8))
    assert np.median(np.abs(whole[back].astype(int) - COLOURS["hair"])) < 12


@pytest.mark.parametrize(("share", "held"), [(0.3, True), (0.9, False)])
def test_hands_have_not_the_colour_of_what_they_hold_but_that_of_gloves(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate, share: float, held: bool
) -> None:
    part = part_of(template, chest="top", upper_arm="top", scalp="hair")
    colours, known = painted(filling, part), np.ones(len(layout.texel), np.bool_)
    for side in "LR":
        hand = np.flatnonzero(layout.region == REGION_INDEX[f"hand.{side}"])
        colours[hand[: int(share * len(hand))]] = BLUE
    whole = filling.surface(colours, known, part).filled({})
    blue = np.abs(whole[NAMES[layout.region] == "hand"].astype(int) - BLUE).max(axis=1) < 20
    assert blue.mean() == pytest.approx(0.0 if held else share, abs=0.01)


@pytest.mark.parametrize(("jeans", "suit"), [(False, False), (True, False), (False, True)])
def test_hoodie_over_the_hips_gives_trousers_no_colour_unless_it_is_a_suit(
    filling: SurfaceFilling, layout: AtlasLayout, template: BodyTemplate, jeans: bool, suit: bool
) -> None:
    part = part_of(template, chest="top", upper_arm="top", hips="bottom", thigh="bottom", shin="bottom")
    colours, height = painted(filling, part), template.rest[filling.vertex, 1]
    hips, thigh = (NAMES[layout.region] == name for name in ("hips", "thigh"))
    upper = thigh & (height < np.quantile(height[thigh], 0.3))
    if suit:
        upper = thigh | (NAMES[layout.region] == "shin")
    colours[hips | (upper if not jeans else False)] = ORANGE
    depth = template.rest[filling.vertex, 2]
    known = (depth < np.median(depth[thigh])) & (
        np.isin(NAMES[layout.region], ["face", "chest", "upper_arm"]) | hips | upper
    )
    surface = filling.surface(np.where(known[:, None], colours, 0).astype(np.uint8), known, part)
    assert surface.unseen == (() if jeans or suit else ("bottom",))
    dark = (50, 50, 55)
    whole = surface.filled({"bottom": np.array(dark, np.float32)} if surface.unseen else {})
    expected = BLUE if jeans else ORANGE if suit else dark
    assert np.median(np.abs(whole[NAMES[layout.region] == "shin"].astype(int) - expected)) < 6
    np.testing.assert_array_equal(whole[known], colours[known])
