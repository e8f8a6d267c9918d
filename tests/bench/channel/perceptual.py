"""Perceptual distances between pictures: the features that the perception network has of them are compared.

As LPIPS (Zhang et al. 2018) compares those of a classifier; the channels have no learned weights.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import Image
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionNet

Distance = Callable[[Image, Image], float]
"""Distance of two RGB pictures (H, W, 3) of 8 bits and of one size; 0 for equal ones."""

_SMALLEST_NORM: Final = 1e-6
_BATCH: Final = 16


class PerceptualDistance:
    """Distance of the features of the shipped perception network: of its stem at 1/4 and 1/8, and of two of its blocks.

    At each position the features of a scale have unit length.  The distance is the mean of their squared differences
    over the positions, added over the scales.  Pictures are cut into tiles of the side that the network takes.

    Raises:
        WeightsError: the weights are missing or of another version.
    """

    def __init__(self) -> None:
        perception = Perception.load()
        self._net: PerceptionNet = perception.net
        self._side = perception.size
        self._last: tuple[Image, list[Tensor]] | None = None
        self._last_set: tuple[Sequence[Image], list[_Gaussian]] | None = None

    def __call__(self, picture: Image, original: Image) -> float:
        """The distance; features of the last `original` are kept.

        Raises:
            ValueError: the pictures differ in size, or a side is shorter than the tiles.
        """
        if picture.shape != original.shape:
            raise ValueError(f"pictures of {picture.shape} and {original.shape} cannot be compared")
        if self._last is None or self._last[0] is not original:
            self._last = (original, self.features(original))
        pairs = zip(self.features(picture), self._last[1], strict=True)
        return sum(float((ours - theirs).square().sum(1).mean()) for ours, theirs in pairs)

    def frechet(self, pictures: Sequence[Image], originals: Sequence[Image]) -> float:
        """Fréchet distance of the features at 1/4 and 1/8 of all positions, times 1,000, added over the two.

        It compares distributions as FID does (Heusel et al. 2017): detail that no original has at its place counts as
        real if originals have such detail somewhere.
        """
        if self._last_set is None or self._last_set[0] is not originals:
            self._last_set = (originals, self._gaussians(originals))
        pairs = zip(self._gaussians(pictures), self._last_set[1], strict=True)
        return 1e3 * sum(ours.frechet(theirs) for ours, theirs in pairs)

    def _gaussians(self, pictures: Sequence[Image]) -> list["_Gaussian"]:
        """Fitted to the features of all positions, of the two finest scales."""
        features = [self.features(each)[:2] for each in pictures]
        return [_Gaussian.from_rows(torch.cat([_rows(each[scale]) for each in features])) for scale in range(2)]

    @torch.inference_mode()
    def features(self, picture: Image) -> list[Tensor]:
        """(tiles, C, h, w) of each scale, finest first, of unit length.

        Raises:
            ValueError: a side is shorter than the tiles.
        """
        tiles = torch.from_numpy(np.stack(list(_tiles(picture, self._side)))).permute(0, 3, 1, 2).float() / 255.0
        batches = [self._net.trunk(batch)[0] for batch in tiles.split(_BATCH)]
        scales = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        return [scale / (scale.norm(dim=1, keepdim=True) + _SMALLEST_NORM) for scale in scales]


def _rows(features: Tensor) -> Tensor:
    """(n, C) features of all positions, in double precision."""
    return features.movedim(1, -1).flatten(0, -2).double()


class _Gaussian(NamedTuple):
    """Mean (C,) and covariance (C, C)."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def from_rows(cls, rows: Tensor) -> Self:
        """Fitted to vectors (n, C)."""
        return cls(rows.mean(0), torch.cov(rows.T))

    def frechet(self, other: Self) -> float:
        """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)."""
        # The product has real eigenvalues that are not negative, but for rounding.
        roots = torch.linalg.eigvals(self.covariance @ other.covariance).real.clamp_min(0).sqrt().sum()
        squared = (self.mean - other.mean).square().sum()
        return float(squared + self.covariance.trace() + other.covariance.trace() - 2 * roots)


def _tiles(picture: Image, side: int) -> Iterator[Image]:
    """Squares that cover a picture; those of the last row and column overlap their neighbours."""
    height, width = picture.shape[:2]
    if min(height, width) < side:
        raise ValueError(f"a picture of {width}×{height} pixels; the distance needs {side} a side")
    rows, columns = (sorted({*range(0, length - side + 1, side), length - side}) for length in (height, width))
    for top, left in itertools.product(rows, columns):
        yield picture[top : top + side, left : left + side]
