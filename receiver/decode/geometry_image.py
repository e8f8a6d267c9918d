"""Geometry images: the body surface as three small pictures, coarse to fine.

Each of the 2,048 oriented points belongs to a fixed place on the body template, so a body is a picture whose pixels
are places.  Places are put along a space-filling (Z-order) curve by halving the template again and again, so 4
neighbours along the curve are a 2x2 block of the picture, and going one level up is the mean of 4 entries:

    points (64x32 = 2048) → S_3 (32x16 = 512) → S_2 (16x8 = 128, the tokens) → S_1 (8x4 = 32)

Shapes: B people, N places, C = 6 channels (mean position in metres, mean of the unit normals).
"""

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, IntArray
from common.body.anatomy import TOKENS

LEVEL_SIZES: tuple[int, ...] = (32, 128, 512)
CHANNELS = 6


def halving_order(positions: Float64Array) -> IntArray:
    """Order of 2^k positions (2^k, 3) along a space-filling curve: halve along the longest side, then each half.

    Raises:
        ValueError: the number of positions is not a power of two.
    """
    count = len(positions)
    if count & (count - 1) or count == 0:
        raise ValueError(f"a space-filling order needs a power of two of positions, got {count}")
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    longest = int(np.argmax(np.ptp(positions, axis=0)))
    ranked = np.argsort(positions[:, longest], kind="stable")
    halves = ranked[: count // 2], ranked[count // 2 :]
    return np.concatenate([half[halving_order(positions[half])] for half in halves])


def place_order(rest_points: Float64Array) -> IntArray:
    """Curve order of the template's points (P, 3).

    The template's tokens already stand along a curve; inside a token its neighbours are put along one too, so that
    four in a row make a place of S_3.
    """
    size = len(rest_points) // TOKENS
    tokens = rest_points.reshape(TOKENS, size, 3)
    return np.concatenate([index * size + halving_order(token) for index, token in enumerate(tokens)])


def pool(cloud_BNC: Tensor, places: int) -> Tensor:
    """Means of equal runs along the curve: (B, N, C) → (B, places, C)."""
    batch, _, channels = cloud_BNC.shape
    return cloud_BNC.reshape(batch, places, -1, channels).mean(dim=2)


def true_levels(cloud_BNC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """S_1, S_2, S_3 of oriented points (or of places) that stand in curve order."""
    s_1, s_2, s_3 = (pool(cloud_BNC, places) for places in LEVEL_SIZES)
    return s_1, s_2, s_3


def inverse_order(order: Tensor) -> Tensor:
    """The permutation that undoes `order`."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse
