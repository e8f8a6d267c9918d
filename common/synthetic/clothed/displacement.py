"""Displacement of the template from the skin to the outermost layer of what a person wears, without headwear.

In the rest pose and in camera axes, so that skinning the displaced template gives the posed clothed person: garments
are posed with nearly the weights of the skin beneath.

Shapes: V' vertices of the template.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import ByteArray, FloatArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.outfit import Outfit
from common.synthetic.clothed.binding import GarmentBinding
from common.synthetic.renderer.renderer import Renderer


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
