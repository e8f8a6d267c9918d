"""Paints the template: received tiles, the other side of a face where one is unseen, and what fills the rest.

Light and complexion differ from side to side, so smooth differences between what was seen of both are kept.

Paints a whole body from the parts of its texture atlas that have been received.

What nobody has seen continues what was seen of the same skin, hair or garment (`SurfaceFilling`).  Of clothes and hair
of which next to nothing was seen no colour is known: tops and hair have that of their region's label, other clothes one
that is usually worn with the rest (`common.wears`).
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout, Texture, sample
from common.wears import usual_colour
from common.weights.devices import to_numpy
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.texture.face_detail import FaceDetail
from receiver.texture.filling import SurfaceFilling
from receiver.texture.received_texture import ReceivedTexture

# Differences are smooth over so many texels, and are computed of squares with this side; where so little was seen of
# both sides, they count half.
_SIGMA_TEXELS, _STEP, _LITTLE = 12.0, 4, 0.02


class FaceMirror:
    """Completes faces of which one side was seen."""

    def __init__(self, layout: AtlasLayout) -> None:
        face = layout.region == REGION_INDEX["face"]
        paired = np.flatnonzero(face & (layout.mirror >= 0) & face[layout.mirror])
        self._texel: IntArray = layout.texel[paired].astype(np.int64)
        self._twin: IntArray = layout.texel[layout.mirror[paired]].astype(np.int64)
        self._square = layout.squares(_STEP)[paired]
        place = np.stack(np.divmod(self._texel, ATLAS_SIZE)[::-1], axis=1)
        self._coordinates: FloatArray = ((place + 0.5) / ATLAS_SIZE).astype(np.float32)

    def completed(self, texture: Texture) -> Texture:
        """The texture, in which texels of the face are known if their mirror texels are."""
        known, colours = texture.known.reshape(-1), texture.colours.reshape(-1, 3)
        seen, twin_seen = known[self._texel], known[self._twin]
        missing = twin_seen & ~seen
        if not missing.any():
            return texture
        both = np.flatnonzero(seen & twin_seen)
        differences = colours[self._texel[both]].astype(np.float32) - colours[self._twin[both]]
        smooth = sample(_smooth(self._square[both], differences), self._coordinates[missing])
        at, twin = self._texel[missing], self._twin[missing]
        whole, whole_known = colours.copy(), known.copy()
        whole[at] = np.rint(colours[twin] + smooth).clip(0, 255)
        whole_known[at] = True
        return Texture(whole.reshape(texture.colours.shape), whole_known.reshape(texture.known.shape))


def _smooth(square: IntArray, differences: FloatArray) -> FloatArray:
    """(Q, Q, 3) smooth differences, of those (n, 3) of texels in squares (n,) of which a side has Q."""
    count = ATLAS_SIZE // _STEP
    sums = [np.bincount(square, each, count**2) for each in (*differences.T, np.ones(len(square)))]
    shares = np.stack(sums, axis=1).reshape(count, count, 4).astype(np.float32) / _STEP**2
    coarse = cv2.GaussianBlur(shares, (0, 0), _SIGMA_TEXELS / _STEP)
    return np.asarray(coarse[..., :3] / (coarse[..., 3:] + _LITTLE), np.float32)


logger = logging.getLogger(__name__)

_KEPT_PEOPLE = 32
# A person is painted again when the colour of a part that nobody saw has changed by this much, 0…255.
_CHANGE = 10.0
# Part → attribute of `wears`.
_CLOTHES = {"top": "layer", "bottom": "bottom", "shoes": "shoes"}
_SKIN, _HAIR = "skin", "hair"
# A label of the hair that is so near to the face's in all channels is that of a scalp which nobody saw, or is bald.
_LIKE_SKIN, _BROWN = 0.06, np.array([0.23, 0.17, 0.14], np.float32)
_FACE, _SCALP, _CHEST = (REGION_INDEX[name] for name in ("face", "scalp", "chest"))


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """What is to be painted: arguments of `Painter.paint`."""

    received: ReceivedTexture
    regions: FloatArray
    part: IntArray | None

    def is_done_by(self, other: "_Order", unseen: Sequence[str]) -> bool:
        """Whether the paint of another one will do, in which some parts have their usual colours."""
        return (
            self.received is other.received
            and self.is_dressed_as(other)
            and all(np.abs(_usual(name, self.regions) - _usual(name, other.regions)).max() < _CHANGE for name in unseen)
        )

    def is_dressed_as(self, other: "_Order") -> bool:
        """Whether the same is outermost at each vertex."""
        if self.part is None or other.part is None:
            return self.part is other.part
        return np.array_equal(self.part, other.part)


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """The colours of one person: of the skin, and (V', 3) uint8 RGB of its vertices.

    Args:
        unseen: names of the parts that have their usual colours.
    """

    texture: MeshTexture
    vertices: ByteArray
    unseen: tuple[str, ...] = ()


def template_corners(body: BodyModel, template: BodyTemplate) -> TextureCorners:
    """Where the triangles of a template are in all textures."""
    return TextureCorners.from_triangles(template.faces, to_numpy(body.texture_coordinates)[template.face_index])


class Painter:
    """Paints people; of each, the last paint is kept."""

    def __init__(self, body: BodyModel, template: BodyTemplate, layout: AtlasLayout, face: FaceDetail) -> None:
        self._layout, self._face, self._mirror = layout, face, FaceMirror(layout)
        self._corners = template_corners(body, template)
        self._coordinates = self._corners.coordinates[: len(template)]
        self._filling = SurfaceFilling(template, layout)
        # (S, S) the position in `AtlasLayout.texel` of the texel that is nearest to each.
        self._nearest = np.searchsorted(layout.texel, layout.nearest)
        # By `ReceivedTexture.person`; and of whom another one is being made.
        self._last: OrderedDict[object, tuple[_Order, Paint]] = OrderedDict()
        self._being_painted: set[object] = set()
        self._lock = threading.Lock()
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="paint")

    @property
    def corners(self) -> TextureCorners:
        """Of all textures."""
        return self._corners

    def paint(
        self,
        received: ReceivedTexture,
        region_colours: FloatArray,
        part: IntArray | None = None,
        *,
        may_wait: bool = False,
    ) -> Paint:
        """The colours of one person, from the atlas that has arrived and the regions' (R, 3) in 0…1.

        Args:
            part: (V',) what is outermost at each vertex (`Clothes.part`).
            may_wait: the person's last colours will do, in the same clothes, while others are painted aside.
        """
        order, person = _Order(received, region_colours.copy(), part), received.person
        with self._lock:
            last = self._last.get(person)
            if last is not None and order.is_done_by(last[0], last[1].unseen):
                return last[1]
            aside = last is not None and may_wait and order.is_dressed_as(last[0])
            begins = aside and person not in self._being_painted
            if begins:
                self._being_painted.add(person)
        if begins:
            self._aside.submit(self._painted, order).add_done_callback(_log_failure)
        return last[1] if last is not None and aside else self._painted(order)

    def _painted(self, order: _Order) -> Paint:
        person = order.received.person
        try:
            paint = self._paint(order.received, order.regions, order.part)
        finally:
            with self._lock:
                self._being_painted.discard(person)
        with self._lock:
            self._last[person] = order, paint
            self._last.move_to_end(person)
            while len(self._last) > _KEPT_PEOPLE:
                self._last.popitem(last=False)
        return paint

    def _paint(self, received: ReceivedTexture, region_colours: FloatArray, part: IntArray | None) -> Paint:
        texture, texel = received.texture(), self._layout.texel
        both_sides = self._mirror.completed(texture)
        colours, known = both_sides.colours.reshape(-1, 3), both_sides.known.reshape(-1)
        surface = self._filling.surface(colours.take(texel, axis=0), known.take(texel), part)
        unseen = surface.unseen
        whole = surface.filled({name: _usual(name, region_colours) for name in unseen}).take(self._nearest, axis=0)
        atlas = self._face.on_atlas(whole, both_sides.known)
        vertices = np.rint(sample(atlas, self._coordinates)).astype(np.uint8)
        attributes = tuple(_CLOTHES[name] for name in unseen if name in _CLOTHES)
        unseen_share = 1 - float((surface.known & texture.known.reshape(-1).take(texel)).mean())
        return Paint(MeshTexture(self._corners, encode_jpeg(atlas), unseen_share, attributes), vertices, unseen)


def _log_failure(painting: Future[Paint]) -> None:
    if (failure := painting.exception()) is not None:
        logger.error("a person keeps the last colours, because others could not be painted", exc_info=failure)


def _usual(part: str, region_colours: FloatArray) -> FloatArray:
    """(3,) 0…255 of a part of which nothing was seen."""
    labels = {_SKIN: _FACE, _HAIR: _SCALP, "top": _CHEST}
    colour = region_colours[labels[part]] if part in labels else usual_colour(part, region_colours)
    if part == _HAIR and np.abs(colour - region_colours[_FACE]).max() < _LIKE_SKIN:
        colour = _BROWN
    return np.asarray(255 * colour.clip(0, 1), np.float32)
