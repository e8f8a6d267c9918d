"""Paints a whole body from the parts of its texture atlas that have been received.

What nobody has seen continues what was seen of the same skin, hair or garment (`SurfaceFilling`).  Of clothes and hair
of which next to nothing was seen no colour is known: tops and hair have that of their region's label, other clothes one
that is usually worn with the rest (`common.wear_colours`).
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from common.arrays import ByteArray, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout, sample
from common.wear_colours import usual_colour
from common.weights.devices import to_numpy
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.texture.face_detail import FaceDetail
from receiver.texture.face_mirror import FaceMirror
from receiver.texture.filling import SurfaceFilling
from receiver.texture.received_texture import ReceivedTexture

# People whose paint is kept.
_CACHED_PEOPLE = 32
# A person is painted again when a region's colour has changed by this much, 0…1.
_REGION_CHANGE = 0.04
# Part → attribute of `wears`.
_CLOTHES = {"top": "layer", "bottom": "bottom", "shoes": "shoes"}
_SKIN, _HAIR = "skin", "hair"
# A label of the hair that is so near to the face's in all channels is that of a scalp which nobody saw, or is bald.
_LIKE_SKIN, _BROWN = 0.06, np.array([0.23, 0.17, 0.14], np.float32)
_FACE, _SCALP, _CHEST = (REGION_INDEX[name] for name in ("face", "scalp", "chest"))


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """The colours of one person: of the skin, and (V', 3) uint8 RGB of its vertices."""

    texture: MeshTexture
    vertices: ByteArray


def template_corners(body: BodyModel, template: BodyTemplate) -> TextureCorners:
    """Where the triangles of a template are in all textures."""
    return TextureCorners.from_triangles(template.faces, to_numpy(body.texture_coordinates)[template.face_index])


class Painter:
    """Paints people; paint is cached by the identity of the `ReceivedTexture` object."""

    def __init__(self, body: BodyModel, template: BodyTemplate, layout: AtlasLayout, face: FaceDetail) -> None:
        self._layout, self._face, self._mirror = layout, face, FaceMirror(layout)
        self._corners = template_corners(body, template)
        self._coordinates = self._corners.coordinates[: len(template)]
        self._filling = SurfaceFilling(template, layout)
        self._cache: OrderedDict[ReceivedTexture, tuple[Paint, FloatArray, IntArray | None]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def corners(self) -> TextureCorners:
        """Of all textures."""
        return self._corners

    def paint(self, received: ReceivedTexture, region_colours: FloatArray, part: IntArray | None = None) -> Paint:
        """The colours of one person, from the atlas that has arrived and the regions' (R, 3) in 0…1.

        Args:
            part: (V',) what is outermost at each vertex (`Clothes.part`).
        """
        with self._lock:
            cached = self._cache.get(received)
        if cached is not None and cached[2] is part and np.abs(cached[1] - region_colours).max() < _REGION_CHANGE:
            return cached[0]
        paint = self._paint(received, region_colours, part)
        with self._lock:
            self._cache[received] = paint, region_colours.copy(), part
            self._cache.move_to_end(received)
            while len(self._cache) > _CACHED_PEOPLE:
                self._cache.popitem(last=False)
        return paint

    def _paint(self, received: ReceivedTexture, region_colours: FloatArray, part: IntArray | None) -> Paint:
        texture, texel = received.texture(), self._layout.texel
        both_sides = self._mirror.completed(texture)
        colours, known = both_sides.colours.reshape(-1, 3), both_sides.known.reshape(-1)
        surface = self._filling.surface(colours.take(texel, axis=0), known.take(texel), part)
        usual = {name: _usual(name, region_colours) for name in surface.unseen}
        whole = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
        whole[texel] = surface.filled(usual)
        whole = self._layout.extended(whole.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))
        atlas = self._face.on_atlas(whole, both_sides.known)
        vertices = np.rint(sample(atlas, self._coordinates)).astype(np.uint8)
        attributes = tuple(_CLOTHES[name] for name in surface.unseen if name in _CLOTHES)
        unseen_share = 1 - float((surface.known & texture.known.reshape(-1).take(texel)).mean())
        return Paint(MeshTexture(self._corners, encode_jpeg(atlas), unseen_share, attributes), vertices)


def _usual(part: str, region_colours: FloatArray) -> FloatArray:
    """(3,) 0…255 of a part of which nothing was seen."""
    labels = {_SKIN: _FACE, _HAIR: _SCALP, "top": _CHEST}
    colour = region_colours[labels[part]] if part in labels else usual_colour(part, region_colours)
    if part == _HAIR and np.abs(colour - region_colours[_FACE]).max() < _LIKE_SKIN:
        colour = _BROWN
    return np.asarray(255 * colour.clip(0, 1), np.float32)
