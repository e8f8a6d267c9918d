"""Faces of which one side was seen."""

import numpy as np
import pytest

from common.arrays import BoolArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.texture.atlas import AtlasLayout, Texture
from receiver.texture.painting import FaceMirror

FACE = REGION_INDEX["face"]


@pytest.fixture(scope="module")
def left(layout: AtlasLayout) -> BoolArray:
    """(T,) one of each pair of texels of the face that mirror each other."""
    paired = (layout.region == FACE) & (layout.mirror >= 0) & (layout.region[layout.mirror] == FACE)
    return np.asarray(paired & (layout.texel // ATLAS_SIZE > layout.texel[layout.mirror] // ATLAS_SIZE))


def texture_of(layout: AtlasLayout, colours: np.ndarray, known: BoolArray) -> Texture:
    whole, mask = np.zeros((ATLAS_SIZE**2, 3), np.uint8), np.zeros(ATLAS_SIZE**2, np.bool_)
    whole[layout.texel], mask[layout.texel] = colours, known
    return Texture(whole.reshape(ATLAS_SIZE, ATLAS_SIZE, 3), mask.reshape(ATLAS_SIZE, ATLAS_SIZE))


def test_other_side_is_the_one_that_was_seen(layout: AtlasLayout, left: BoolArray) -> None:
    colours = np.random.default_rng(0).integers(60, 200, (len(layout.texel), 3))
    whole = FaceMirror(layout).completed(texture_of(layout, colours, left))
    right = np.flatnonzero(~left & (layout.mirror >= 0) & left[layout.mirror])
    right = right[layout.region[right] == FACE]
    texels = layout.texel[right]
    assert len(right) > 5000 and whole.known.reshape(-1)[texels].all()
    # Beside the middle, both of a pair may lie on one side.
    equal = whole.colours.reshape(-1, 3)[texels] == colours[layout.mirror[right]]
    assert equal.mean() > 0.75
    outside = layout.region != FACE
    assert not whole.known.reshape(-1)[layout.texel[outside]].any()


def test_darker_side_stays_darker(layout: AtlasLayout, left: BoolArray) -> None:
    lower = layout.texel % ATLAS_SIZE > 440
    face = layout.region == FACE
    colours = np.where(left, 150, 120)[:, None].repeat(3, axis=1)
    whole = FaceMirror(layout).completed(texture_of(layout, colours, left | (face & lower)))
    near = face & ~left & (layout.mirror >= 0) & (np.abs(layout.texel % ATLAS_SIZE - 436) < 4)
    near &= np.abs(layout.texel // ATLAS_SIZE - 230) < 20
    filled = whole.colours.reshape(-1, 3)[layout.texel[near]]
    assert near.sum() > 50 and np.abs(filled.astype(int) - 120).mean() < 6


def test_face_that_was_seen_stays(layout: AtlasLayout) -> None:
    texture = texture_of(layout, np.full((len(layout.texel), 3), 90), np.ones(len(layout.texel), np.bool_))
    assert FaceMirror(layout).completed(texture) is texture
