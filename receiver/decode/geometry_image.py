"""Geometry images: the body surface as three small images, from coarse to fine.

Each pixel of a geometry image is a fixed patch of the body template.  The 2,048 oriented points and the patches are
ordered along a space-filling (Z-order) curve, made by repeatedly halving the template.  Runs of 4 along the curve form
2x2 blocks of the image, and each coarser level is the mean over such runs:

    points (64x32 = 2048) → S_3 (32x16 = 512) → S_2 (16x8 = 128, the tokens) → S_1 (8x4 = 32)

Shapes: B people, N patches, C = 6 channels (mean position in metres, mean of the unit normals).
"""

import numpy as np
from torch import Tensor

from common.arrays import Float64Array, IntArray
from common.body.anatomy import TOKENS

LEVEL_SIZES: tuple[int, ...] = (32, 128, 512)
CHANNELS = 6


def halving_order(positions: Float64Array) -> IntArray:
    """Indices (2^k,) that order positions (2^k, 3) along a space-filling curve: halve along the longest side, recurse.

    Raises:
        ValueError: the number of positions is not a power of two.
    """
    count = len(positions)
    if count & (count - 1) or count == 0:
        raise ValueError(f"the number of positions must be a power of two, got {count}")
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    longest = int(np.argmax(np.ptp(positions, axis=0)))
    ranked = np.argsort(positions[:, longest], kind="stable")
    halves = ranked[: count // 2], ranked[count // 2 :]
    return np.concatenate([half[halving_order(positions[half])] for half in halves])


def curve_order(rest_points: Float64Array) -> IntArray:
    """Indices (P,) that put the template's points (P, 3) in curve order.

    The tokens of the template are already in curve order.  This orders the points within each token as well, so that
    each run of 4 points forms a patch of S_3.
    """
    size = len(rest_points) // TOKENS
    tokens = rest_points.reshape(TOKENS, size, 3)
    return np.concatenate([index * size + halving_order(token) for index, token in enumerate(tokens)])


def pool(cloud_BNC: Tensor, patches: int) -> Tensor:
    """Means over runs of equal length along the curve: (B, N, C) → (B, patches, C)."""
    batch, _, channels = cloud_BNC.shape
    return cloud_BNC.reshape(batch, patches, -1, channels).mean(dim=2)


def true_levels(cloud_BNC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """S_1, S_2, S_3 of oriented points, or of finer patches, in curve order."""
    s_1, s_2, s_3 = (pool(cloud_BNC, patches) for patches in LEVEL_SIZES)
    return s_1, s_2, s_3
