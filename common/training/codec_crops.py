"""What the picture codec is trained on: crops of photographs, and tiles of texture atlases with unknown texels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor

from common.arrays import ByteArray
from common.errors import SourceError
from common.texture.atlas_tiles import LEVEL_SIZES, reduced
from common.texture.hole_filling import filled
from common.training.picture_cache import PictureCache, random_crops

# A batch has as many pixels at each size, and of the sizes this share.
_SIDES_PX = {64: 0.1, 128: 0.75, 256: 0.15}
_REFERENCE_PX = 128
# The finest level has most tiles of an atlas.
_LEVEL_SHARES = (0.04, 0.08, 0.23, 0.65)


class Crops(NamedTuple):
    """Pictures (B, 3, H, W) of float32, 0…1, and which of their pixels count (B, 1, H, W), 0 or 1."""

    pictures: Tensor
    known: Tensor


def read_atlases(folders: Sequence[Path]) -> list[ByteArray]:
    """RGBA atlases (512, 512, 4) of folders of PNG files, which `sender.train.atlases` writes.

    Raises:
        SourceError: there is none, or one cannot be read or has another size.
    """
    files = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    if not files:
        raise SourceError(f"no atlases in {', '.join(map(str, folders))}: run python -m sender.train.atlases")
    atlases = []
    for path in files:
        try:
            with Pictures.open(path) as picture:
                atlases.append(np.asarray(picture.convert("RGBA")))
        except (OSError, ValueError, SyntaxError) as error:
            raise SourceError(f"{path}: cannot be read as a picture") from error
        if atlases[-1].shape != (LEVEL_SIZES[-1], LEVEL_SIZES[-1], 4):
            raise SourceError(f"{path}: an atlas has {LEVEL_SIZES[-1]} texels a side")
    return atlases


def mixed_crops(
    photographs: PictureCache, atlases: Sequence[ByteArray], batch: int, rng: np.random.Generator
) -> Iterator[Crops]:
    """Endless batches, of which half the crops are tiles of atlases; all crops of a batch have one size.

    Args:
        atlases: (512, 512, 4) RGBA.
        batch: crops of 128² pixels in a batch; of larger ones it has fewer.
    """
    sides, shares = list(_SIDES_PX), list(_SIDES_PX.values())
    counts = {side: max(2, batch * _REFERENCE_PX**2 // side**2) for side in sides}
    of_photographs = {
        side: random_crops(
            photographs.subset(np.flatnonzero(photographs.sizes.min(1) >= side)), -(-counts[side] // 2), side, rng
        )
        for side in sides
    }
    while True:
        side = int(rng.choice(sides, p=shares))
        plain = next(of_photographs[side])
        tiles = [atlas_crop(atlases[int(rng.integers(len(atlases)))], side, rng) for _ in range(counts[side] // 2)]
        pictures = torch.from_numpy(np.stack([tile[..., :3] for tile in tiles])).permute(0, 3, 1, 2).float() / 255
        known = torch.from_numpy(np.stack([tile[..., 3] for tile in tiles])).float()[:, None] / 255
        yield Crops(torch.cat([plain, pictures]), torch.cat([torch.ones_like(plain[:, :1]), known]))


def atlas_crop(atlas: ByteArray, side: int, rng: np.random.Generator) -> ByteArray:
    """(side, side, 4) RGBA of an atlas at one of its levels, with unknown texels filled as the codec's user does."""
    levels = [level for level, size in enumerate(LEVEL_SIZES) if size >= side]
    weights = np.array([_LEVEL_SHARES[level] for level in levels])
    size = LEVEL_SIZES[int(rng.choice(levels, p=weights / weights.sum()))]
    scale = LEVEL_SIZES[-1] // size
    top, left = (int(rng.integers((size - side) // 8 + 1)) * 8 * scale for _ in range(2))
    part = atlas[top : top + side * scale, left : left + side * scale]
    colours, known = reduced(part[..., :3], part[..., 3] > 0, scale)
    crop = np.dstack([filled(colours, known), np.where(known, 255, 0).astype(np.uint8)])
    turns = int(rng.integers(4))
    return np.ascontiguousarray(np.rot90(crop if rng.random() < 0.5 else crop[:, ::-1], turns))
