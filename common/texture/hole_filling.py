"""Colours for unknown texels that vary as little as possible, so that a picture codec spends few bits on them."""

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray

_GREY = 128


def filled(colours: ByteArray, known: BoolArray) -> ByteArray:
    """(H, W, 3) RGB with unknown texels interpolated by a pyramid of means (push-pull, Gortler et al. 1996).

    Args:
        colours: (H, W, 3) uint8; those of unknown texels have no influence.
        known: (H, W) bool; grey comes back where none is known.
    """
    if known.all():
        return colours
    if not known.any():
        return np.full_like(colours, _GREY)
    weight = known.astype(np.float32)
    smooth = _pulled(colours * in_each_channel(weight), weight)
    # Rounds, to the even number from the middle, and clips.
    result = np.asarray(cv2.convertScaleAbs(smooth), np.uint8)
    return np.asarray(cv2.copyTo(colours, known.view(np.uint8), result), np.uint8)


def in_each_channel(values: FloatArray) -> FloatArray:
    """(H, W, 3) of (H, W): NumPy takes several times as long to broadcast along a short last axis."""
    return np.asarray(cv2.merge((values, values, values)), np.float32)


def _pulled(sums: FloatArray, weight: FloatArray) -> FloatArray:
    """Means (H, W, 3) where the weight (H, W), 0…1, is positive, mixed with those of half the size for the rest."""
    means: FloatArray = sums / in_each_channel(np.maximum(weight, 1e-6))
    height, width = weight.shape
    if height == width == 1 or (weight >= 1).all():
        return means
    # In fours, and each at most as certain as one texel that is known.
    half = (-(-width // 2), -(-height // 2))
    coarse_sums = 4 * cv2.resize(sums, half, interpolation=cv2.INTER_AREA)
    coarse_weight = 4 * cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    excess = np.maximum(coarse_weight, 1)
    coarse = _pulled(coarse_sums / in_each_channel(excess), np.asarray(coarse_weight / excess, np.float32))
    finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    means *= in_each_channel(weight)
    means += in_each_channel(1 - weight) * finer
    return means
