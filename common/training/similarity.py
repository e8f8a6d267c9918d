"""MS-SSIM of batches as a loss (Wang, Simoncelli and Bovik 2003), where only some pixels may count."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_LEAST = 1e-4


def ms_ssim(pictures: Tensor, originals: Tensor, known: Tensor) -> Tensor:
    """(B,) multi-scale structural similarity, mean over the colours.

    Pictures smaller than 176 pixels have fewer scales, with the same relative weights.

    Args:
        pictures, originals: (B, C, H, W) float32, 0…1, with at least 11 pixels a side.
        known: (B, 1, H, W) 0…1, the weight of each pixel; a picture without any has similarity 1.
    """
    x, y, weight = torch.lerp(originals, pictures, known), originals, known
    weights: list[float] = []
    side = min(x.shape[-2:])
    while side > 2 * _RADIUS and len(weights) < len(_WEIGHTS):
        weights.append(_WEIGHTS[len(weights)])
        side //= 2
    product = x.new_ones(x.shape[:2])
    for scale, exponent in enumerate(weights):
        luminance, structure = _similarities(x, y)
        values = luminance * structure if scale == len(weights) - 1 else structure
        inside = weight[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
        total = inside.sum((2, 3))
        mean = (values * inside).sum((2, 3)) / total.clamp_min(1e-6)
        mean = torch.where(total > _LEAST, mean, 1.0).clamp_min(_LEAST)
        product = product * mean ** (exponent / sum(weights))
        x, y, weight = (functional.avg_pool2d(each, 2) for each in (x, y, weight))
    return product.mean(1)


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure, where the window is inside."""
    mean_x, mean_y, of_xx, of_yy, of_xy = _blurred(torch.stack([x, y, x * x, y * y, x * y])).unbind()
    variances = of_xx - mean_x.square() + of_yy - mean_y.square()
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    return luminance, (2 * (of_xy - mean_x * mean_y) + _C2) / (variances + _C2)


def _blurred(x: Tensor) -> Tensor:
    """Gaussian means, as products with band matrices: faster on a CPU than convolutions of single channels."""
    return _band(x.shape[-2]).to(x.device) @ (x @ _band(x.shape[-1]).T.to(x.device))


@lru_cache(maxsize=32)
def _band(size: int) -> Tensor:
    """(size − 10, size) Gaussian windows."""
    offsets = torch.arange(size)[None] - torch.arange(size - 2 * _RADIUS)[:, None] - _RADIUS
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2)) * (offsets.abs() <= _RADIUS)
    return window / window.sum(1, keepdim=True)
