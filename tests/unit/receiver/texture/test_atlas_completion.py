"""Colours of what nobody has seen, estimated by a network."""

import numpy as np
import pytest
import torch

from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import AtlasLayout, Texture
from receiver.texture.atlas_completion import (
    COMPLETION_SIZE,
    DIFFERENCE,
    AtlasCompletion,
    CoarseLayout,
    Condition,
    estimated,
)
from tests.support.tiny_completion import tiny_completion

SIDE = COMPLETION_SIZE


@pytest.fixture(scope="module")
def coarse(layout: AtlasLayout) -> CoarseLayout:
    return CoarseLayout.from_layout(layout)


def half_known(layout: AtlasLayout) -> Texture:
    """Red where the atlas's upper half shows skin."""
    colours = np.zeros((ATLAS_SIZE, ATLAS_SIZE, 3), np.uint8)
    colours[..., 0] = 200
    known = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    known.ravel()[layout.texel] = True
    known[ATLAS_SIZE // 2 :] = False
    return Texture(colours, known)


def test_mirror_of_a_mirror_texel_is_nearly_the_texel_itself(coarse: CoarseLayout) -> None:
    mirror = np.full(SIDE**2, -1)
    mirror[coarse.mirrored] = coarse.mirror
    assert coarse.skin.ravel()[coarse.mirror].all() and coarse.skin.ravel()[coarse.mirrored].all()
    back = mirror[coarse.mirror]
    found = back >= 0
    distance = np.hypot(*(np.array(np.divmod(back, SIDE)) - np.divmod(coarse.mirrored, SIDE)))[found]
    assert found.mean() > 0.9 and np.median(distance) <= 1 and np.mean(distance < 3) > 0.95


def test_filling_takes_mirror_points_before_surroundings(coarse: CoarseLayout) -> None:
    known = np.zeros((SIDE, SIDE), np.bool_)
    row, column = np.divmod(coarse.mirror[len(coarse.mirror) // 2], SIDE)
    known[row, column] = True
    colours = np.zeros((SIDE, SIDE, 3), np.uint8)
    colours[row, column] = [250, 10, 30]
    condition = Condition.from_colours(coarse, colours, known)
    seen, mirrored, skin = condition.channels[3:].numpy() > 0
    assert seen.sum() == 1 and np.array_equal(skin, coarse.skin)
    np.testing.assert_array_equal(np.flatnonzero(mirrored), coarse.mirrored[coarse.mirror == row * SIDE + column])
    np.testing.assert_allclose(condition.filling.numpy()[:, mirrored].T * 255, [[250, 10, 30]], atol=1e-3)


def test_colours_that_are_not_known_have_no_influence(coarse: CoarseLayout) -> None:
    rng = np.random.default_rng(0)
    colours, known = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), rng.random((SIDE, SIDE)) < 0.3
    other = np.where((known & coarse.skin)[..., None], colours, 7).astype(np.uint8)
    torch.testing.assert_close(
        Condition.from_colours(coarse, colours, known).channels,
        Condition.from_colours(coarse, other, known).channels,
        rtol=0,
        atol=0,
    )


def test_estimate_is_the_sum_of_filling_and_difference(layout: AtlasLayout, coarse: CoarseLayout) -> None:
    network, texture = tiny_completion(), half_known(layout)
    found = AtlasCompletion(network, layout).estimate(texture)
    assert found.shape == (SIDE, SIDE, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, AtlasCompletion(network, layout).estimate(texture))
    known = texture.known.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) >= 0.4
    colours = texture.colours[::4, ::4]
    condition = Condition.from_colours(coarse, colours, known)
    difference = estimated(network, condition.channels[None], torch.Generator().manual_seed(1))[0]
    wanted = (255 * (condition.filling + DIFFERENCE * difference)).clamp(0, 255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found[coarse.skin], wanted[coarse.skin], atol=1)
    # Beyond the skin, every colour is one of the skin's.
    skin = {tuple(colour) for colour in found[coarse.skin].tolist()}
    assert {tuple(colour) for colour in found[~coarse.skin].tolist()} <= skin
    assert difference.abs().max() > 0.01
