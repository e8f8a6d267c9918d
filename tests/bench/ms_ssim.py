"""Structural similarity at one and at five scales (Wang et al. 2004; Wang, Simoncelli and Bovik 2003)."""

import cv2
import numpy as np

from common.arrays import FloatArray, Image

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5
_WINDOW = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MIN_SIDE_PX = _WINDOW[0] * 2 ** (len(_WEIGHTS) - 1)


def ms_ssim(picture: Image, original: Image) -> float:
    """Multi-scale structural similarity of RGB pictures of 8 bits, mean over the colours.

    Raises:
        ValueError: a side is shorter than 176 pixels.
    """
    if min(picture.shape[:2]) < MIN_SIDE_PX:
        raise ValueError(f"MS-SSIM needs {MIN_SIDE_PX} pixels a side")
    x, y = picture.astype(np.float32), original.astype(np.float32)
    product = np.ones(3)
    for scale, weight in enumerate(_WEIGHTS):
        luminance, structure = similarities(x, y)
        last = scale == len(_WEIGHTS) - 1
        values = (luminance * structure if last else structure).mean((0, 1), dtype=np.float64)
        product = product * values.clip(min=0.0) ** weight
        x, y = _halved(x), _halved(y)
    return float(product.mean())


def similarities(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Luminance, and contrast with structure, of pictures (H, W, C), 0…255, where the window is inside."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blurred(x: FloatArray) -> FloatArray:
    inside = slice(_RADIUS, -_RADIUS)
    return np.asarray(cv2.GaussianBlur(x, _WINDOW, _SIGMA)[inside, inside], np.float32)


def _halved(x: FloatArray) -> FloatArray:
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return np.asarray(cv2.resize(x[:height, :width], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
