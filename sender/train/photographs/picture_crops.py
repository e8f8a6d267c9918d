"""Random crops of photographs, whatever they show, and trainings on those."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from common.arrays import Image
from common.errors import SourceError
from common.training.recipe import Network, Recipe
from sender.train.photographs.dataset import PhotographDataset, PhotographSplit

_LARGEST_REDUCTION = 1.8


def random_crops(pictures: Sequence[Image], batch: int, side_px: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches (batch, 3, side_px, side_px) of float32, 0…1.

    A picture counts by its area; half of the crops are reduced by up to 1.8, and half are mirrored.
    """
    areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], np.float64)
    shares = areas / areas.sum()
    while True:
        rows = rng.choice(len(pictures), size=batch, p=shares)
        crops = np.stack([_crop(pictures[int(row)], side_px, rng) for row in rows])
        yield torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255.0


def _crop(picture: Image, side_px: int, rng: np.random.Generator) -> Image:
    height, width = picture.shape[:2]
    reduction = math.exp(max(rng.uniform(-1, 1), 0.0) * math.log(_LARGEST_REDUCTION))
    side = min(int(side_px * reduction), height, width)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = picture[top : top + side, left : left + side]
    if side > side_px:
        crop = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


class CropRecipe(Recipe[Network, Tensor]):
    """A training on random crops of the photographs of `--photographs`, whose validation split is held back."""

    crop_px = 128
    validation_crops = 64

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        photographs = "folder of sender.train.photographs.dataset"
        parser.add_argument("--photographs", type=Path, required=True, metavar="DIR", help=photographs)

    def read_pictures(self) -> None:
        """Reads the photographs, and chooses the crops for validation.

        Raises:
            SourceError: they are missing, damaged or of another format, or all of a split are smaller than a crop.
        """
        self.pictures, held_back = self._pictures("train"), self._pictures("val")
        rng = np.random.default_rng(0)
        self.validation = next(random_crops(held_back, self.validation_crops, self.crop_px, rng)).to(self.device)
        self.generator = torch.Generator().manual_seed(self.workers.seed(self.options.seed))
        self.facts = {"pictures": len(self.pictures), "shipped": self.options.shipped}

    def _pictures(self, split: PhotographSplit) -> list[Image]:
        photographs = PhotographDataset(self.options.photographs, split)
        pictures = [photographs[index].image for index in range(len(photographs))]
        large = [picture for picture in pictures if min(picture.shape[:2]) >= self.crop_px]
        if not large:
            raise SourceError(f"no photograph has {self.crop_px} pixels a side to take crops from; name larger ones")
        return large

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Tensor]:
        return random_crops(self.pictures, count, self.crop_px, rng)
