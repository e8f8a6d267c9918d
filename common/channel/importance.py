"""What of a picture matters most: a level for each latent position, which is sent beside the hyper latents.

Level 0 is background, 1 a person, 2 a face or a hand.  The cost of a position's error counts (1 + level)^1.75 times
when lengths are chosen.  The exponent was chosen on held-back photographs as the largest by which, on average over
bandwidth ratios of 1/24 and 1/48 and SNRs of 1 to 10 dB, the PSNR of whole pictures falls by at most 0.4 dB.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from common.arrays import ByteArray

LEVELS: Final = 3
EXPONENT: Final = 1.75
# Beginnings of the counts: for any level, and for that of each neighbour.
_PRIOR, _NEIGHBOUR_PRIOR = 0.125, 1.5


def weights_of(levels: ByteArray | None) -> Tensor | None:
    """(1, H, W) weights of the positions' costs, of levels (H, W); None for equal ones."""
    return None if levels is None else (1.0 + torch.from_numpy(levels.astype(np.float64)))[None] ** EXPONENT


def map_bits(levels: ByteArray | None) -> float:
    """Bits of the levels (H, W) by an adaptive arithmetic code: row by row, given the levels to the left and above."""
    if levels is None:
        return 0.0
    counts: dict[tuple[int, int], list[float]] = {}
    bits, above = 0.0, [0] * levels.shape[1]
    for row in levels.tolist():
        left = 0
        for column, level in enumerate(row):
            neighbours = (left, above[column])
            own = counts.setdefault(neighbours, _prior(neighbours))
            bits -= math.log2(own[level] / sum(own))
            own[level] += 1
            left = level
        above = row
    return bits


def _prior(neighbours: tuple[int, int]) -> list[float]:
    return [_PRIOR + _NEIGHBOUR_PRIOR * neighbours.count(level) for level in range(LEVELS)]
