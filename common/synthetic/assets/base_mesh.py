"""MakeHuman's complete base mesh with its helper geometry, over our shape space; garments are bound to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from common.arrays import FloatArray, IntArray

BASE_MESH_FILE = Path(__file__).resolve().parent.parent / "data" / "base_mesh.npz"


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """The base mesh in the rest pose, in camera axes, metres; 19,158 vertices.

    Args:
        rest: (11, 19158, 3) the mean shape, then the displacement per unit of each shape coefficient.
        weights: (19158, 52) skinning weights.
        body: (13718,) the indices of `BodyModel`'s vertices, in its order.
    """

    rest: FloatArray
    weights: FloatArray
    body: IntArray

    @classmethod
    def load(cls) -> Self:
        """The mesh of the package."""
        with np.load(BASE_MESH_FILE) as stored:
            return cls(**{name: stored[name] for name in stored.files})
