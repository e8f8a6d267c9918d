"""Perceptual distances between pictures, and their calibration: `python -m tests.bench.perceptual --pictures DIR`.

`PerceptualDistance` compares the features that the perception network has of two pictures, as LPIPS (Zhang et al. 2018)
compares those of a classifier; its channels have no learned weights.  `Lpips` is LPIPS itself, for those who have the
weights of its AlexNet.

A distance is only of use if it orders known degradations.  The bench blurs the pictures, adds noise, and compresses
them with JPEG, six levels each, and prints

    monotonic     share of the pictures on which the distance grows with every level of a degradation
    agreement     mean over pictures of Spearman's rank correlation with MS-SSIM, over the levels of all three
"""

import argparse
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from common.arrays import Image
from common.errors import UsageError
from common.imaging.picture_file import read_picture
from common.training.picture_cache import picture_files
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionNet
from tests.bench import report
from tests.bench.ms_ssim import MIN_SIDE_PX, ms_ssim
from tests.bench.rivals.stills import Still
from tests.bench.rivals.stills import decode as decode_still

Distance = Callable[[Image, Image], float]
"""Distance of two RGB pictures (H, W, 3) of 8 bits and of one size; 0 for equal ones."""

BLUR_PX: Final = (0.5, 0.8, 1.2, 2.0, 3.0, 5.0)
NOISE: Final = (3.0, 6.0, 12.0, 20.0, 35.0, 60.0)
JPEG_QUALITY: Final = (90, 70, 50, 30, 15, 5)
_QUICK_PICTURES, _PICTURES = 3, 24
_LARGEST_PX: Final = 480
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
        return [_Gaussian.of(torch.cat([_rows(each[scale]) for each in features])) for scale in range(2)]

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
    def of(cls, rows: Tensor) -> Self:
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


class Lpips:
    """LPIPS of version 0.1 with AlexNet (package `lpips`).

    Args:
        weights: file of torchvision's AlexNet, `alexnet-owt-7be5be79.pth`; the package has the others.

    Raises:
        UsageError: the package is not installed, or the file is not that of AlexNet.
    """

    def __init__(self, weights: Path) -> None:
        try:
            import lpips
        except ImportError as error:
            raise UsageError("--lpips needs the package lpips: pip install lpips") from error
        with warnings.catch_warnings():
            # It calls torchvision in a way that is deprecated.
            warnings.simplefilter("ignore", UserWarning)
            self._metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
        try:
            trained = torch.load(weights, map_location="cpu", weights_only=True)
            # `slice1.0` of the metric's network is `features.0` of AlexNet.
            own = {name: trained[f"features.{name.partition('.')[2]}"] for name in self._metric.net.state_dict()}
            self._metric.net.load_state_dict(own)
        except Exception as error:  # torch.load raises many types
            raise UsageError(f"{weights}: not the weights of torchvision's AlexNet ({error})") from error

    @torch.inference_mode()
    def __call__(self, picture: Image, original: Image) -> float:
        ours, theirs = (
            torch.from_numpy(each).permute(2, 0, 1)[None].float() / 127.5 - 1 for each in (picture, original)
        )
        return float(self._metric(ours, theirs))


def distances(lpips: Path | None) -> dict[str, Distance]:
    """The perceptual distances by name; LPIPS only with the file of its weights."""
    found: dict[str, Distance] = {"perceptual": PerceptualDistance()}
    if lpips is not None:
        found["lpips"] = Lpips(lpips)
    return found


def degraded(picture: Image, seed: int) -> dict[str, list[Image]]:
    """Degradation → the picture at its levels, the weakest first."""
    rng = np.random.default_rng(seed)
    noisy = [picture + rng.normal(0.0, deviation, picture.shape) for deviation in NOISE]
    return {
        "blur": [np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) for sigma in BLUR_PX],
        "noise": [each.round().clip(0, 255).astype(np.uint8) for each in noisy],
        "jpeg": [decode_still(Still("JPEG", 1, quality).encode(picture)) for quality in JPEG_QUALITY],
    }


def calibrate(distance: Distance, pictures: Sequence[Image], seed: int) -> dict[str, float]:
    """`monotonic_…` of each degradation, and `agreement` with MS-SSIM; see the module."""
    agreements, monotonic = [], dict[str, list[bool]]()
    for number, original in enumerate(pictures):
        report.progress(f"picture {number + 1} of {len(pictures)}")
        similarities, values = [], []
        for name, levels in degraded(original, seed + number).items():
            found = [distance(each, original) for each in levels]
            monotonic.setdefault(f"monotonic_{name}", []).append(bool(np.all(np.diff(found) > 0)))
            similarities += [ms_ssim(each, original) for each in levels]
            values += found
        agreements.append(-float(spearmanr(similarities, values).statistic))
    return {"agreement": float(np.mean(agreements)), **{name: float(np.mean(each)) for name, each in monotonic.items()}}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = report.flags("perceptual", (__doc__ or "").partition("\n\n")[2], seed=3)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR", help="folder of pictures")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="also LPIPS, with torchvision's weights of AlexNet")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    files = picture_files([options.pictures])
    # Evenly over the folder, whose order may mean something.
    chosen = files[:: max(len(files) // (_QUICK_PICTURES if options.quick else _PICTURES), 1)]
    cut = [read_picture(file)[:_LARGEST_PX, :_LARGEST_PX] for file in chosen]
    pictures = [picture for picture in cut if min(picture.shape[:2]) >= MIN_SIDE_PX]
    if not pictures:
        raise UsageError(f"{options.pictures}: no picture has {MIN_SIDE_PX} pixels a side; name another folder")
    figures = {name: calibrate(each, pictures, options.seed) for name, each in distances(options.lpips).items()}
    print(f"{len(pictures)} pictures; {report.machine_line()}\n")
    print(report.transposed(figures))
    report.write_json(options.json, "perceptual", options.seed, figures, pictures=len(pictures))


if __name__ == "__main__":
    sys.exit(report.run("perceptual", lambda: main(parse())))
