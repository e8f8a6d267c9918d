"""Decoded pictures of folders in one memory-mapped file, random crops of them, and trainings on those."""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import OutputError, SourceError
from common.imaging.picture_file import read_picture
from common.io.atomic_write import atomic_replacement, atomic_write
from common.training.recipe import Network, Recipe

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_LARGEST_REDUCTION = 1.8
_VALIDATION_SHARE = 40


@dataclass(frozen=True)
class PictureCache:
    """RGB pictures of 8 bits.

    Args:
        values: all bytes, memory-mapped.
        sizes: (n, 2) height and width of each.
        offsets: (n,) where each begins in `values`.
    """

    values: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3), a view of the file."""
        height, width = (int(side) for side in self.sizes[index])
        begin = int(self.offsets[index])
        return self.values[begin : begin + 3 * height * width].reshape(height, width, 3)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "PictureCache":
        """Some of the pictures, in the same file."""
        return PictureCache(self.values, self.sizes[indices], self.offsets[indices])


def picture_files(folders: Sequence[Path]) -> list[Path]:
    """All pictures in folders and below, in a fixed order. Raises SourceError if a folder has none."""
    found: list[Path] = []
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise SourceError(f"{folder}: no pictures ({', '.join(SUFFIXES)}) there; name another folder")
        found += files
    return found


def open_cache(files: Sequence[Path], directory: Path, smallest_px: int) -> PictureCache:
    """Decodes pictures into `directory`, or maps what an earlier run decoded there.

    Args:
        files: pictures; those with a side shorter than `smallest_px` are left out.
        directory: of the cache; its file is named after the list of pictures.
        smallest_px: side of the crops to take.

    Raises:
        SourceError: a picture cannot be read, or all are too small.
        OutputError: the cache cannot be written.
    """
    names = "\n".join([str(smallest_px), *(str(path.resolve()) for path in files)])
    stem = directory / hashlib.sha256(names.encode()).hexdigest()[:16]
    values, index = stem.with_suffix(".u8"), stem.with_suffix(".json")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not index.exists():
            with atomic_replacement(values) as partial:
                sizes = _decode(files, Path(partial), smallest_px)
            atomic_write(index, json.dumps(sizes).encode())
        sizes_n2 = np.array(json.loads(index.read_text(encoding="utf-8")), dtype=np.int64)
        mapped = np.memmap(values, dtype=np.uint8, mode="r")
    except OSError as error:
        raise OutputError(f"cannot write the picture cache in {directory}: {error.strerror or error}") from error
    counts = 3 * sizes_n2.prod(1)
    return PictureCache(mapped, sizes_n2, np.cumsum(counts) - counts)


def split_for_validation(pictures: PictureCache) -> tuple[PictureCache, PictureCache]:
    """The pictures to train on, and one in 40 that is held back.

    A network that starts from the weights of another keeps the split, if it is trained on the same folders.
    """
    held_back = np.arange(len(pictures)) % _VALIDATION_SHARE == 0
    return pictures.subset(np.flatnonzero(~held_back)), pictures.subset(np.flatnonzero(held_back))


def _decode(files: Sequence[Path], target: Path, smallest_px: int) -> list[tuple[int, int]]:
    sizes = []
    with open(target, "wb") as stream:
        for path in files:
            picture = read_picture(path)
            if min(picture.shape[:2]) >= smallest_px:
                stream.write(picture.tobytes())
                sizes.append((picture.shape[0], picture.shape[1]))
    if not sizes:
        raise SourceError(f"all {len(files)} pictures are smaller than {smallest_px} pixels; name larger ones")
    return sizes


def random_crops(cache: PictureCache, batch: int, side_px: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches (batch, 3, side_px, side_px) of float32, 0…1.

    A picture counts by its area; half of the crops are reduced by up to 1.8, and half are mirrored.

    Raises:
        SourceError: there is no picture, because all are too small or because too few are held back.
    """
    if not len(cache):
        raise SourceError(f"no picture has {side_px} pixels a side to take crops from; name more or larger ones")
    areas = cache.sizes.prod(1).astype(np.float64)
    shares = areas / areas.sum()
    while True:
        rows = rng.choice(len(cache), size=batch, p=shares)
        crops = np.stack([_crop(cache[int(row)], side_px, rng) for row in rows])
        yield torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255.0


def _crop(picture: NDArray[np.uint8], side_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    reduction = math.exp(max(rng.uniform(-1, 1), 0.0) * math.log(_LARGEST_REDUCTION))
    side = min(int(side_px * reduction), height, width)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = picture[top : top + side, left : left + side]
    if side > side_px:
        crop = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


class CropRecipe(Recipe[Network, Tensor]):
    """A training on random crops of the pictures of `--data`, some of which are held back."""

    crop_px = 128
    validation_crops = 64

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
        parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of decoded pictures")

    def read_pictures(self) -> None:
        """Reads the pictures, and chooses the crops for validation; errors as of `open_cache`."""
        files, options = picture_files(self.options.data), self.options
        self.pictures, held_back = split_for_validation(open_cache(files, options.cache, self.crop_px))
        rng = np.random.default_rng(0)
        self.validation = next(random_crops(held_back, self.validation_crops, self.crop_px, rng)).to(self.device)
        self.generator = torch.Generator().manual_seed(self.workers.seed(options.seed))
        self.facts = {"pictures": len(self.pictures), "shipped": options.shipped}

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Tensor]:
        return random_crops(self.pictures, count, self.crop_px, rng)
