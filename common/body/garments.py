"""Garments that a person can be given: what they make of the template, and where they replace what was worn.

`common.training.fit_garments` makes the table.  Shapes: V' vertices of the template.
"""

import zipfile
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import GARMENTS, GARMENTS_FILE
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.errors import WeightsError


@dataclass(frozen=True, eq=False)
class GarmentTable:
    """The garments of `anatomy.GARMENTS`.

    Args:
        entries: (G, 24) entries of the label group `surface`, which tell the displacement where the weights are not 0.
        weights: (G, V') 255 where a garment replaces what was worn, falling to 0 around it.
    """

    entries: FloatArray
    weights: ByteArray
    space: SurfaceSpace

    @classmethod
    def load(cls) -> Self:
        """The table of the package. Raises WeightsError if it is missing or unreadable."""
        space = SurfaceSpace.load()
        try:
            with open(GARMENTS_FILE, "rb") as file, np.load(file) as stored:
                entries, weights = stored["entries"].astype(np.float32), stored["weights"].astype(np.uint8)
            if entries.shape != (len(GARMENTS), SURFACE_SIZE) or weights.shape != (len(GARMENTS), len(space.mean)):
                raise ValueError(f"shapes {entries.shape}, {weights.shape}")
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{GARMENTS_FILE.name} is missing or unreadable; reinstall bodywire") from error
        return cls(entries, weights, space)

    def worn(self, garment: str, displacement: FloatArray) -> FloatArray:
        """(V', 3) the displacement of the template when a garment is put on over or instead of what was worn.

        Args:
            garment: one of `anatomy.GARMENTS`.
            displacement: (V', 3) of what was worn, rest pose, camera axes, metres.
        """
        row = GARMENTS.index(garment)
        target = self.space.decode(torch.from_numpy(self.entries[row : row + 1]))[0].numpy()
        weight = self.weights[row, :, None] / np.float32(255)
        return np.asarray(displacement + weight * (target - displacement), np.float32)
