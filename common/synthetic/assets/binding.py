"""Bindings of the template to garments: for each vertex of the template, the point of a garment that it moves to.

They were fitted once, on the mean body in the rest pose, by non-rigid registration of the skin to the visible side of
the garment (Amberg et al. 2007, with displacements in place of affine transforms).  Because a binding refers to
vertices of the garment, it holds for every shape, for looser and for shortened variants.

Shapes: V' vertices of the template, n of them bound, N vertices of the garment.

Displacement of the template from the skin to the outermost layer of what a person wears, without headwear.

In the rest pose and in camera axes, so that skinning the displaced template gives the posed clothed person: garments
are posed with nearly the weights of the skin beneath.

Shapes: V' vertices of the template.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.synthetic.assets.garments import Kind, Outfit, load_packed
from common.synthetic.renderer import Renderer

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


@dataclass(frozen=True, eq=False)
class ClothedTemplate:
    """What an outfit makes of the template.

    Args:
        displacement: (V', 3) from the skin to the outermost layer, in the rest pose, camera axes, metres.
        material: (V',) index into `appearance.MATERIALS` of the outermost layer.
    """

    displacement: FloatArray
    material: ByteArray


class OutfitDisplacer:
    """Computes clothed templates.

    Args:
        renderer: computes the offset of loose painted clothes.
    """

    def __init__(self, model: BodyModel, renderer: Renderer, bindings: dict[str, GarmentBinding]) -> None:
        self._renderer, self._bindings = renderer, bindings
        self.template = BodyTemplate.from_model(model)
        self._rest = np.ascontiguousarray(model.rest_vertices.cpu().numpy()[:, self.template.kept])
        self._normals = self.template.vertex_normals(self.template.rest)

    def displace(self, outfit: Outfit, shape: FloatArray) -> ClothedTemplate:
        """The template of a person in an outfit but its headwear, for shape coefficients (10,)."""
        kept = self.template.kept
        painted = self._renderer.looseness(outfit.body)
        displacement, material = painted.offset[kept], painted.material[kept]
        skin = self._skin(shape) if outfit.garments else self.template.rest
        highest = np.full(len(kept), -np.inf, np.float32)
        bound = [piece for piece in outfit.garments if piece[0].kind is not Kind.HAT]
        for garment, paint in bound:
            binding, loose = self._bindings[garment.name], self._renderer.looseness(paint, garment)
            offset = binding.targets(garment.rest_vertices(shape) + loose.offset) - skin[binding.vertices]
            height = np.einsum("nd,nd->n", offset, self._normals[binding.vertices])
            outer = (height > highest[binding.vertices]) & binding.remains(garment.removal)
            vertices, corner = binding.vertices[outer], binding.corners[outer, binding.nearest[outer]]
            displacement[vertices], highest[vertices] = offset[outer], height[outer]
            material[vertices] = loose.material[corner]
        return ClothedTemplate(displacement, material)

    def _skin(self, shape: FloatArray) -> FloatArray:
        """(V', 3) the template without clothes in the rest pose."""
        rows = np.concatenate([np.ones(1, np.float32), shape])
        return np.asarray(rows @ self._rest.reshape(len(rows), -1), np.float32).reshape(-1, 3)
