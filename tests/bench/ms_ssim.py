"""Structural similarity at one and at five scales (Wang et al. 2004; Wang, Simoncelli and Bovik 2003)."""

import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Image

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MIN_SIDE_PX = (2 * _RADIUS + 1) * 2 ** (len(_WEIGHTS) - 1)


def ms_ssim(picture: Image, original: Image) -> float:
    """Multi-scale structural similarity of RGB pictures of 8 bits, mean over the colours.

    Raises:
        ValueError: a side is shorter than 176 pixels.
    """
    if min(picture.shape[:2]) < MIN_SIDE_PX:
        raise ValueError(f"MS-SSIM needs {MIN_SIDE_PX} pixels a side")
    x, y = (torch.tensor(image).permute(2, 0, 1)[:, None].float() for image in (picture, original))
    product = torch.ones(3)
    for scale, weight in enumerate(_WEIGHTS):
        luminance, structure = similarities(x, y)
        last = scale == len(_WEIGHTS) - 1
        values = (luminance * structure if last else structure).mean((1, 2, 3))
        product = product * values.clamp_min(0.0) ** weight
        x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return float(product.mean())


def similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure, of pictures (B, 1, H, W), 0…255, where the window is inside."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blurred(x: Tensor) -> Tensor:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=x.dtype)
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    window = window / window.sum()
    return functional.conv2d(functional.conv2d(x, window[None, None, None]), window[None, None, :, None])
