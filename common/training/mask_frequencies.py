"""Fits the frequencies of the mask codec to the masks of texture atlases."""

from collections.abc import Sequence

import numpy as np

from common.arrays import ByteArray, Float64Array, IntArray
from common.picture_codec.mask import CONTEXTS, PROBABILITY_BITS, observed_contexts
from common.texture.atlas_tiles import TILES, reduced

_NEAREST = 4
_NEIGHBOUR_BITS = 12
# How many texels the mean of similar contexts counts as.
_PRIOR_TEXELS = 4.0


def mask_frequencies(atlases: Sequence[ByteArray]) -> IntArray:
    """(CONTEXTS,) of `MaskCodec`, from RGBA atlases (512, 512, 4).

    Contexts that are rare are mixed with all those that have as many known texels among the four nearest and among the
    others.
    """
    texels, ones = np.zeros(CONTEXTS), np.zeros(CONTEXTS)
    for atlas in atlases:
        for tile in TILES:
            _, mask = reduced(atlas[(*tile.area, slice(0, 3))], atlas[(*tile.area, 3)] > 0, tile.scale)
            if not mask.any() or mask.all():
                continue
            for contexts, values in observed_contexts(mask):
                texels += np.bincount(contexts, minlength=CONTEXTS)
                ones += np.bincount(contexts, weights=values, minlength=CONTEXTS)
    kind = _kinds()
    mean = (np.bincount(kind, weights=ones) + 0.5) / (np.bincount(kind, weights=texels) + 1.0)
    probability: Float64Array = (ones + _PRIOR_TEXELS * mean[kind]) / (texels + _PRIOR_TEXELS)
    whole = 1 << PROBABILITY_BITS
    return np.rint(probability * whole).astype(np.int64).clip(1, whole - 1)


def _kinds() -> IntArray:
    """(CONTEXTS,) number of each context's group of similar ones."""
    context = np.arange(CONTEXTS)
    neighbours = context >> np.arange(_NEIGHBOUR_BITS)[:, None] & 1
    near, far = neighbours[:_NEAREST].sum(axis=0), neighbours[_NEAREST:].sum(axis=0)
    step = context >> _NEIGHBOUR_BITS
    return np.asarray((step * (_NEAREST + 1) + near) * (_NEIGHBOUR_BITS - _NEAREST + 1) + far, np.int64)
