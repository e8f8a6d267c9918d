"""A whole atlas from a part of it."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE, REGION_INDEX, REGIONS
from common.body.model import BodyModel
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import TILES, encode
from receiver.body.skinning import BodySkin
from receiver.mesh.mesh_texture import sample_jpeg
from receiver.outfits.dressing import PARTS
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import Painter, complete
from receiver.texture.received_texture import ReceivedTexture

GREY = np.full((len(REGIONS), 3), 0.5, np.float32)


def texture_of(layout: AtlasLayout, colours: np.ndarray, known: np.ndarray) -> Texture:
    """A texture from colours (T, 3) and knowledge (T,) of the layout's texels."""
    image, mask = np.zeros((ATLAS_SIZE**2, 3), np.uint8), np.zeros(ATLAS_SIZE**2, np.bool_)
    image[layout.texel], mask[layout.texel] = colours, known
    return Texture(image.reshape(ATLAS_SIZE, ATLAS_SIZE, 3), mask.reshape(ATLAS_SIZE, ATLAS_SIZE))


def region_pattern(layout: AtlasLayout) -> np.ndarray:
    """(T, 3) a colour per body region, the same on both sides."""
    stems = [name.split(".")[0] for name in REGIONS]
    colour = np.array([(40 * len(stem)) % 256 for stem in stems])
    return np.stack([colour, 255 - colour, colour // 2], axis=1)[layout.region].astype(np.uint8)


def test_what_is_known_stays_as_it_is(layout: AtlasLayout) -> None:
    rng = np.random.default_rng(0)
    colours, known = rng.integers(0, 256, (len(layout.texel), 3)), rng.random(len(layout.texel)) < 0.3
    whole = complete(layout, texture_of(layout, colours, known), GREY).reshape(-1, 3)[layout.texel]
    np.testing.assert_array_equal(whole[known], colours[known])


def test_hole_is_filled_from_its_surroundings(layout: AtlasLayout, body: BodyModel) -> None:
    """A band of the torso that no side has seen takes the torso's colour, not that of its region's label."""
    colours = np.full((len(layout.texel), 3), (180, 40, 90), np.uint8)
    height = np.einsum("tc,tc->t", layout.barycentric, body.rest_vertices[0, :, 1].numpy()[layout.corners])
    chest = layout.region == REGION_INDEX["chest"]
    middle = np.median(height[chest])
    hidden = chest & (np.abs(height - middle) < 0.03)
    whole = complete(layout, texture_of(layout, colours, ~hidden), GREY).reshape(-1, 3)[layout.texel]
    assert np.abs(whole[hidden].astype(int) - (180, 40, 90)).max() <= 12


def test_unknown_body_has_the_colours_of_its_regions(layout: AtlasLayout) -> None:
    regions = np.random.default_rng(1).random((len(REGIONS), 3)).astype(np.float32)
    nothing = texture_of(layout, np.zeros((len(layout.texel), 3)), np.zeros(len(layout.texel), np.bool_))
    whole = complete(layout, nothing, regions).reshape(-1, 3)[layout.texel]
    for region, colour in enumerate(regions):
        np.testing.assert_allclose(np.median(whole[layout.region == region], axis=0), 255 * colour, atol=30)


def test_borders_of_unknown_regions_are_soft(layout: AtlasLayout) -> None:
    regions = np.random.default_rng(1).random((len(REGIONS), 3)).astype(np.float32)
    nothing = texture_of(layout, np.zeros((len(layout.texel), 3)), np.zeros(len(layout.texel), np.bool_))
    whole = complete(layout, nothing, regions).astype(int)
    inside = np.zeros(ATLAS_SIZE**2, np.bool_)
    inside[layout.texel] = True
    square = inside.reshape(ATLAS_SIZE, ATLAS_SIZE)
    steps = np.abs(np.diff(whole, axis=1)).max(axis=2)[square[:, 1:] & square[:, :-1]]
    assert steps.max() < 40


def test_paint_reaches_texture_and_vertices(layout: AtlasLayout, body: BodyModel) -> None:
    colours = region_pattern(layout)
    whole = complete(layout, texture_of(layout, colours, np.ones(len(layout.texel), np.bool_)), GREY)
    received = ReceivedTexture()
    for tile in TILES[-16:]:
        received = received.with_tile(tile, encode(tile, whole, np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)))
    skin = BodySkin.from_model(body)
    painter = Painter(body, skin.template, layout, FaceDetail(body, skin.template, layout))
    paint = painter.paint(received, GREY)
    expected = {region: colours[layout.region == region][0] for region in range(len(REGIONS))}
    for region, colour in expected.items():
        found = paint.vertices[skin.template.region == region]
        np.testing.assert_allclose(np.median(found, axis=0), colour, atol=8)
    corners = paint.texture.corners
    at_corners = sample_jpeg(paint.texture.jpeg, corners.coordinates)
    error = np.abs(at_corners[: len(paint.vertices)].astype(int) - paint.vertices)
    assert np.median(error) <= 3 and len(paint.texture.jpeg) < 60_000
    assert painter.paint(received, GREY + 0.01) is paint and painter.paint(received, GREY + 0.2) is not paint


PURPLE, ORANGE = (120, 40, 160), (230, 140, 30)


def estimate(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    """(128, 128, 3) an estimated atlas with two halves."""
    colours = np.empty((128, 128, 3), np.uint8)
    colours[:, :64], colours[:, 64:] = left, right
    return colours


def sides(layout: AtlasLayout) -> tuple[np.ndarray, np.ndarray]:
    """(T,) the texels in the left and the right half of the atlas, without those near its middle."""
    column = layout.texel % ATLAS_SIZE
    return column < ATLAS_SIZE // 2 - 4, column >= ATLAS_SIZE // 2 + 4


def test_unknown_body_has_the_estimated_colours(layout: AtlasLayout) -> None:
    nothing = texture_of(layout, np.zeros((len(layout.texel), 3)), np.zeros(len(layout.texel), np.bool_))
    whole = complete(layout, nothing, GREY, estimate(PURPLE, ORANGE)).reshape(-1, 3)[layout.texel]
    for side, colour in zip(sides(layout), (PURPLE, ORANGE), strict=True):
        np.testing.assert_allclose(whole[side].astype(int), np.broadcast_to(colour, whole[side].shape), atol=1)


def test_estimate_does_not_change_what_is_known(layout: AtlasLayout) -> None:
    rng = np.random.default_rng(0)
    colours, known = rng.integers(0, 256, (len(layout.texel), 3)), rng.random(len(layout.texel)) < 0.3
    whole = complete(layout, texture_of(layout, colours, known), GREY, estimate(PURPLE, ORANGE))
    np.testing.assert_array_equal(whole.reshape(-1, 3)[layout.texel][known], colours[known])


def test_estimate_fades_into_what_is_known(layout: AtlasLayout) -> None:
    """The estimate is 40 levels too dark: beside what is known it is lighter, far from it not."""
    column = layout.texel % ATLAS_SIZE
    # No border of texels at any level of the pyramid.
    border = ATLAS_SIZE // 2 + 11
    known = column < border
    lighter = np.add(PURPLE, 40)
    texture = texture_of(layout, np.broadcast_to(lighter, (len(known), 3)), known)
    whole = complete(layout, texture, GREY, estimate(PURPLE, PURPLE)).astype(int).reshape(-1, 3)[layout.texel]
    beside, far = ~known & (column < border + 2), column >= border + 96
    assert np.median(whole[beside] - PURPLE) > 12 and np.abs(whole[far] - PURPLE).max() <= 2


def test_estimate_is_painted_and_its_share_is_known(layout: AtlasLayout, body: BodyModel) -> None:
    left = np.arange(ATLAS_SIZE)[None].repeat(ATLAS_SIZE, axis=0) < ATLAS_SIZE // 2
    tile = TILES[0]
    received = ReceivedTexture().with_tile(tile, encode(tile, np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), left))
    skin = BodySkin.from_model(body)
    painter = Painter(body, skin.template, layout, FaceDetail(body, skin.template, layout))
    smooth = painter.paint(received, GREY)
    completed = received.with_completion(estimate((90, 90, 90), ORANGE))
    learned = painter.paint(completed, GREY)
    assert learned is not smooth and painter.paint(completed, GREY) is learned
    assert np.abs(learned.vertices.astype(int) - smooth.vertices).max() > 50
    unseen_share = 1 - received.texture().known.reshape(-1)[layout.texel].mean()
    assert 0.2 < unseen_share < 0.8
    for paint in (smooth, learned):
        assert paint.texture.unseen_share == pytest.approx(unseen_share)


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (("face", "scalp", "chest", "upper_arm", "forearm", "hand"), ("bottom", "shoes")),
        (("hips", "thigh", "shin", "foot"), ("layer",)),
    ],
)
def test_clothes_that_nobody_saw_are_no_overall(
    layout: AtlasLayout, body: BodyModel, seen: tuple[str, ...], unseen: tuple[str, ...]
) -> None:
    skin = BodySkin.from_model(body)
    painter = Painter(body, skin.template, layout, FaceDetail(body, skin.template, layout))
    names = np.array([name.split(".")[0] for name in REGIONS])
    whole = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    whole[layout.texel] = (200, 20, 20)
    known = np.zeros(ATLAS_SIZE**2, np.bool_)
    known[layout.texel] = np.isin(names[layout.region], seen)
    shape = (ATLAS_SIZE, ATLAS_SIZE)
    data = encode(TILES[0], whole.reshape(*shape, 3), known.reshape(shape))
    received = (
        ReceivedTexture().with_tile(TILES[0], data).with_completion(np.full((128, 128, 3), (200, 20, 20), np.uint8))
    )
    region = names[skin.template.region]
    parts = {"hips": "bottom", "thigh": "bottom", "shin": "bottom", "foot": "shoes", "chest": "top", "upper_arm": "top"}
    part = np.array([PARTS.index(parts.get(name, "skin")) for name in region])
    for worn, red in ((None, True), (part, False)):
        paint = painter.paint(received, GREY, worn)
        assert paint.texture.unseen == (() if red else unseen)
        colours = paint.vertices.astype(int)
        for name in ("chest", "thigh", "shin", "foot"):
            is_red = (colours[region == name][:, 0] - colours[region == name][:, 2] > 100).mean() > 0.9
            assert is_red == (red or name in seen), name


@pytest.mark.parametrize("seen", [False, True])
def test_hair_that_no_tile_shows_has_the_colour_of_its_label(layout: AtlasLayout, body: BodyModel, seen: bool) -> None:
    """A face alone makes the estimate take hair for skin."""
    skin = BodySkin.from_model(body)
    painter = Painter(body, skin.template, layout, FaceDetail(body, skin.template, layout))
    scalp, blond = REGION_INDEX["scalp"], (0.8, 0.7, 0.4)
    shown = [REGION_INDEX["face"], *([scalp] if seen else [])]
    whole = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), (150, 100, 80), np.uint8)
    known = np.zeros(ATLAS_SIZE**2, np.bool_)
    known[layout.texel] = np.isin(layout.region, shown)
    received = ReceivedTexture().with_tile(TILES[0], encode(TILES[0], whole, known.reshape(whole.shape[:2])))
    regions = GREY.copy()
    regions[scalp] = blond
    part = np.where(skin.template.region == scalp, PARTS.index("hair"), 0)
    paint = painter.paint(received.with_completion(estimate((150, 100, 80), (150, 100, 80))), regions, part)
    hair = np.median(paint.vertices[skin.template.region == scalp], axis=0)
    np.testing.assert_allclose(hair, (150, 100, 80) if seen else 255 * np.array(blond), atol=12)
    assert not {"hair", "headwear"} & set(paint.texture.unseen)
