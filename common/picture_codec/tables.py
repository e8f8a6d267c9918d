"""Frequency tables of the picture codec, as frozen integers: of latents by their scale, of hyper latents by channel.

Latents of large scale have low bits that are nearly uniform.  These bypass the tables, which keeps them small.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from common.arrays import Float64Array, IntArray
from common.codec.tables import ALPHABET, SYMBOLS, TOTAL_BITS, to_frequencies
from common.picture_codec.network import SCALES, log_scales

# The first scale whose latents have low bits, and twice the number of scales from one bit to the next.
_FIRST_SHIFTED, _TWICE_SCALES_PER_BIT = 33, 11
_TOTAL = 1 << TOTAL_BITS


@dataclass(frozen=True)
class PictureTables:
    """Frequencies of symbols; see `common.codec.range_coder` for the symbols.

    Args:
        frequencies: (SCALES + C, SYMBOLS), rows summing to 2¹⁶: of latents of each scale, then of each of C channels of
            hyper latents.

    Raises:
        ValueError: a row is not a distribution.
    """

    frequencies: IntArray

    def __post_init__(self) -> None:
        if self.frequencies.ndim != 2 or self.frequencies.shape[1] != SYMBOLS or len(self.frequencies) <= SCALES:
            raise ValueError(f"frequencies of shape {self.frequencies.shape} are none of a picture codec")
        if (self.frequencies < 1).any() or (self.frequencies.sum(axis=1) != _TOTAL).any():
            raise ValueError(f"each row of frequencies must be positive and sum to 2^{TOTAL_BITS}")

    @cached_property
    def probabilities(self) -> Float64Array:
        """`frequencies` as exact dyadic numbers."""
        return np.ascontiguousarray(self.frequencies / float(_TOTAL))

    @cached_property
    def cost_bits(self) -> Float64Array:
        """−log₂ p, in the shape of `frequencies`."""
        return -np.log2(self.probabilities)


def low_bits(scale_index: IntArray) -> IntArray:
    """How many low bits of a latent bypass the tables, for each scale index."""
    octaves = -(-2 * (scale_index - _FIRST_SHIFTED + 1) // _TWICE_SCALES_PER_BIT)
    return np.asarray(np.maximum(octaves, 0), np.int64)


def latent_frequencies() -> IntArray:
    """(SCALES, SYMBOLS) of the high part of Gaussian latents of mean zero."""
    shifts = low_bits(np.arange(SCALES))
    deviations = np.exp(log_scales().numpy())
    centres = np.arange(-ALPHABET, ALPHABET + 1)
    rows = []
    for deviation, shift in zip(deviations.tolist(), shifts.tolist(), strict=True):
        # A high part h stands for 2^shift numbers from h · 2^shift − 2^(shift − 1) on.
        lower = centres * (1 << shift) - ((1 << shift) >> 1) - 0.5
        upper = lower + (1 << shift)
        rows.append(_interval(lower / deviation, upper / deviation))
    return frequencies_of(np.stack(rows))


def frequencies_of(probabilities: Float64Array) -> IntArray:
    """(N, SYMBOLS) frequencies of probabilities (N, SYMBOLS − 1); what is missing from 1 goes to the escape."""
    escape = np.maximum(1 - probabilities.sum(axis=1, keepdims=True), 0)
    whole = np.concatenate([probabilities, escape], axis=1)
    return to_frequencies(whole)


def _interval(lower: Float64Array, upper: Float64Array) -> Float64Array:
    """Probability of an interval of a standard normal variable, without cancellation in its right tail."""
    flip = lower > 0
    left, right = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    return np.asarray(ndtr(right) - ndtr(left), np.float64)
