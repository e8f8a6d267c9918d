"""Reads MakeHuman garments that are no part of the wardrobe, from which `receiver.train.shells` makes shells."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common.arrays import Float64Array
from common.body.triangles import random_points
from common.errors import SourceError
from common.synthetic.assets.base_mesh import BaseMesh
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment_files import read_pattern
from common.synthetic.assets.wardrobe import GarmentFitter

_POINTS = 16_000


class GarmentReader:
    """Puts garments of a folder on the mean body.

    Args:
        folder: has NAME/NAME.mhclo, and the OBJ files beside them.
    """

    def __init__(self, folder: Path, canvas: Canvas) -> None:
        self._folder, self._fitter = folder, GarmentFitter(BaseMesh.load(), canvas)

    def points(self, name: str) -> Float64Array:
        """(n, 3) points all over a garment but its sleeves, camera axes, metres.

        Raises:
            SourceError: the garment is missing or has another format.
        """
        path = self._folder / name / f"{name}.mhclo"
        if not path.is_file():
            raise SourceError(f"{path} is missing: the folder must have MakeHuman garments")
        garment = self._fitter.fit(read_pattern(path))
        on_trunk = (garment.limb[garment.faces, 0] <= 0).all(1)
        garment = replace(garment, faces=garment.faces[on_trunk])
        return random_points(garment.rest, garment.faces, _POINTS, np.random.default_rng(0))[0]
