"""Bindings of the template to garments: for each vertex of the template, the point of a garment that it moves to.

They were fitted once, on the mean body in the rest pose, by non-rigid registration of the skin to the visible side of
the garment (Amberg et al. 2007, with displacements in place of affine transforms).  Because a binding refers to
vertices of the garment, it holds for every shape, for looser and for shortened variants.

Shapes: V' vertices of the template, n of them bound, N vertices of the garment.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.synthetic.assets.garment_files import load_packed

BINDINGS_FILE = Path(__file__).resolve().parent.parent / "data" / "bindings.npz"


@dataclass(frozen=True, eq=False)
class GarmentBinding:
    """Where the vertices of the template go that a garment covers.

    Args:
        vertices: (n,) indices of template vertices.
        corners: (n, 3) vertices of the garment.
        barycentric: (n, 3) their weights.
        offset: (n, 3) offset from that point in the rest pose, metres: where the template only spans the garment.
    """

    vertices: IntArray
    corners: IntArray
    barycentric: FloatArray
    offset: FloatArray

    def targets(self, garment_vertices: FloatArray) -> FloatArray:
        """(n, 3) positions of the bound vertices, for vertices (N, 3) of the garment in the rest pose."""
        corners = garment_vertices[self.corners]
        points = np.einsum("nc,ncd->nd", self.barycentric, corners)
        return np.asarray(points + self.offset, np.float32)

    @cached_property
    def nearest(self) -> IntArray:
        """(n,) which of the three corners is nearest."""
        return np.asarray(self.barycentric.argmax(1))

    def remains(self, removal: FloatArray | None) -> BoolArray:
        """(n,) whether the bound points are left of a garment of which `removal` (N,) > 0 was cut off; None: all."""
        if removal is None:
            return np.ones(len(self.vertices), np.bool_)
        return np.asarray(np.einsum("nc,nc->n", self.barycentric, removal[self.corners]) <= 0)


def load_bindings() -> dict[str, GarmentBinding]:
    """The bindings of the package, by the name of the garment."""
    fields = ("vertices", "corners", "barycentric", "offset")
    return {name: GarmentBinding(**arrays) for name, arrays in load_packed(fields, BINDINGS_FILE).items()}
