"""Displacement of the template from the skin to the outermost layer of what a person wears.

In the rest pose and in camera axes, so that skinning the displaced template gives the posed clothed person: garments
are posed with nearly the weights of the skin beneath.

Shapes: V' vertices of the template.
"""

from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.synthetic.assets.outfit import Outfit
from common.synthetic.clothed.binding import GarmentBinding
from common.synthetic.renderer.renderer import Figure, Renderer, WornGarment


@dataclass(frozen=True, eq=False)
class ClothedTemplate:
    """What an outfit makes of the template.

    Args:
        displacement: (V', 3) from the skin to the outermost layer, in the rest pose, camera axes, metres.
        material: (V',) index into `appearance.MATERIALS` of the outermost layer.
        albedo: (V', 3) its unlit sRGB colour, 0…1.
    """

    displacement: FloatArray
    material: ByteArray
    albedo: FloatArray


class OutfitDisplacer:
    """Computes clothed templates.

    Args:
        model: the body.
        renderer: computes the offset of loose painted clothes.
        bindings: binding of every garment, by name.
    """

    def __init__(self, model: BodyModel, renderer: Renderer, bindings: dict[str, GarmentBinding]) -> None:
        self._model, self._renderer, self._bindings = model, renderer, bindings
        self.template = BodyTemplate.of(model)
        self._normals = self.template.normals(self.template.rest)

    def displace(self, outfit: Outfit, shape: FloatArray) -> ClothedTemplate:
        """The template of a person in an outfit, for shape coefficients (10,)."""
        with torch.no_grad():
            rest = self._model.rest(torch.from_numpy(shape)[None])[0][0].numpy()
        worn = tuple(WornGarment(garment, garment.rest_vertices(shape), paint) for garment, paint in outfit.garments)
        layers = self._renderer.surfaces(Figure(rest, outfit.body, worn))
        kept = self.template.kept
        skin = rest[kept]
        displacement, material = layers[0].vertices[kept] - skin, layers[0].material[kept]
        albedo = layers[0].albedo[kept].copy()
        highest = np.full(len(kept), -np.inf, np.float32)
        for layer, garment in zip(layers[1:], worn, strict=True):
            binding = self._bindings[garment.garment.name]
            offset = binding.targets(layer.vertices) - skin[binding.vertices]
            height = np.einsum("nd,nd->n", offset, self._normals[binding.vertices])
            outer = (height > highest[binding.vertices]) & binding.remains(garment.garment.removal)
            vertices, corner = binding.vertices[outer], binding.corners[outer, binding.barycentric[outer].argmax(1)]
            displacement[vertices], highest[vertices] = offset[outer], height[outer]
            material[vertices], albedo[vertices] = layer.material[corner], layer.albedo[corner]
        return ClothedTemplate(displacement, material, albedo)
