"""Paints a whole body from the parts of its texture atlas that have been received.

A texel that nobody has seen is filled with a prior and what its surroundings differ from it: the difference between the
colours that are known and the prior is averaged over larger and larger squares (pull-push, Gortler et al. 1996, "The
Lumigraph", section 3.4) until something is known, and added to the prior.  Far from all that is known, the difference
counts less.

The prior is an estimate of the whole atlas (`ReceivedTexture.completion`); before there is one, it has the colours of
the body regions.  Neither knows clothes and hair of which no texel was seen, and would give them the colours of what is
beside them.  Such clothes have a colour of their own (`common.wear_colours`), hair has that of its region's label.
"""

import functools
import threading
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX, REGIONS
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout, Texture, sample
from common.wear_colours import usual_colour
from common.weights.devices import to_numpy
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.outfits.dressing import PARTS
from receiver.texture.face_detail import FaceDetail
from receiver.texture.received_texture import ReceivedTexture

# People whose paint is kept.
_CACHED_PEOPLE = 32
# A person is painted again when a region's colour has changed by this much, 0…1.
_REGION_CHANGE = 0.04
# Weight of no difference from the prior, in texels of the finest level of the pyramid, and its growth from level to
# level.  The estimate knows more than the mean of a region: differences from it fade within some texels of what is
# known.  Chosen on people of the validation split.
_REGION_WEIGHT = (0.02, 1.0)
_ESTIMATE_WEIGHT = (0.08, 4.0)
_SMALLEST_SIZE = 4
# Clothes of which less is known have the colours that are usually worn with the others: part → attribute of `wears`.
_CLOTHES, _SEEN_SHARE = {"top": "layer", "bottom": "bottom", "shoes": "shoes"}, 0.02
_HAIR, _SCALP = "hair", REGION_INDEX["scalp"]
# What is filled is smooth: it is computed at half the resolution.
_FILLED_SIZE = ATLAS_SIZE // 2
# Width of the blend at borders of regions, and the step at which it is computed.
_BORDER_SIGMA_TEXELS, _BORDER_STEP = 8.0, 4


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
        self._layout, self._face = layout, face
        self._corners = template_corners(body, template)
        self._coordinates = self._corners.coordinates[: len(template)]
        nearest = layout.barycentric.argmax(axis=1)[:, None]
        self._vertex = template.place[np.take_along_axis(layout.corners, nearest, axis=1)[:, 0]]
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
        texture = received.texture()
        whole = complete(self._layout, texture, region_colours, received.completion)
        unseen = {} if part is None else self._unseen_parts(texture.known, part)
        for name, texels in unseen.items():
            colour = region_colours[_SCALP] if name == _HAIR else usual_colour(name, region_colours)
            whole.reshape(-1, 3)[texels] = np.rint(255 * colour.clip(0, 1)).astype(np.uint8)
        if unseen:
            whole = self._layout.extended(whole)
        atlas = self._face.on_atlas(whole, texture.known)
        vertices = np.rint(sample(atlas, self._coordinates)).astype(np.uint8)
        unseen_share = 1 - float(texture.known.reshape(-1)[self._layout.texel].mean())
        attributes = tuple(_CLOTHES[name] for name in unseen if name in _CLOTHES)
        return Paint(MeshTexture(self._corners, encode_jpeg(atlas), unseen_share, attributes), vertices)

    def _unseen_parts(self, known: BoolArray, part: IntArray) -> dict[str, IntArray]:
        """Clothes and hair of which next to nothing is known (S, S), and those of their texels that are not."""
        seen = known.reshape(-1).take(self._layout.texel)
        # Of texels of no vertex, −1, it is the skin.
        part_of_texel = np.append(part, 0).astype(np.uint8).take(self._vertex)
        worn = {name: part_of_texel == PARTS.index(name) for name in (*_CLOTHES, _HAIR)}
        return {
            name: self._layout.texel[here & ~seen].astype(np.int64)
            for name, here in worn.items()
            if np.count_nonzero(here & seen) < _SEEN_SHARE * np.count_nonzero(here)
        }


@functools.lru_cache(maxsize=2)
def _image_maps(layout: AtlasLayout) -> tuple[BoolArray, IntArray]:
    """(S, S) whether each texel shows skin, and (s, s) the region of every `_BORDER_STEP`-th texel, R for none."""
    region = np.full(ATLAS_SIZE**2, len(REGIONS), np.int64)
    region[layout.texel] = layout.region
    square = region.reshape(ATLAS_SIZE, ATLAS_SIZE)
    return square < len(REGIONS), square[::_BORDER_STEP, ::_BORDER_STEP].copy()


def complete(
    layout: AtlasLayout, texture: Texture, region_colours: FloatArray, completion: ByteArray | None = None
) -> ByteArray:
    """(S, S, 3) uint8 RGB: a whole atlas, with seams extended beyond the skin.

    Args:
        texture: what is known of it.
        region_colours: (R, 3) in 0…1.
        completion: (c, c, 3) uint8 RGB, estimated colours of all texels, with seams extended beyond the skin; None for
            the colours of the regions as prior.
    """
    skin, coarse_region = _image_maps(layout)
    known, colours = texture.known & skin, texture.colours.copy()
    if np.count_nonzero(known) < len(layout.texel):
        if completion is None:
            filled = _filled(colours, known, _soft_regions(coarse_region, 255 * region_colours), _REGION_WEIGHT)
        else:
            filled = _filled(colours, known, _resized(completion.astype(np.float32)), _ESTIMATE_WEIGHT)
        cv2.copyTo(filled, (~known).astype(np.uint8), colours)
    return layout.extended(colours)


def _filled(colours: ByteArray, known: BoolArray, prior: FloatArray, prior_weight: tuple[float, float]) -> ByteArray:
    """(S, S, 3) colours for texels that are not known.

    Args:
        colours: (S, S, 3).
        known: (S, S) whether they are known.
        prior: (n, n, 3) 0…255, what they are like where nothing is known; n = `_FILLED_SIZE`.
        prior_weight: of no difference from the prior, and its growth from level to level.
    """
    size, mask = (len(prior), len(prior)), known.astype(np.uint8)
    # Planes: with the channels last, NumPy's inner loops would be of three steps.
    planes = [*cv2.split(cv2.copyTo(colours, mask)), mask]
    halves = [cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA) for plane in planes]
    half = np.stack(halves, dtype=np.float32)
    priors = np.stack(cv2.split(prior))
    half[:3] -= priors * half[3]
    filled = np.rint(priors + _pull_push(half, *prior_weight)).clip(0, 255).astype(np.uint8)
    whole = cv2.resize(cv2.merge(list(filled)), (ATLAS_SIZE, ATLAS_SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole, np.uint8)


def _resized(colours: FloatArray) -> FloatArray:
    """(n, n, 3) colours of another size; n = `_FILLED_SIZE`."""
    return np.asarray(cv2.resize(colours, (_FILLED_SIZE, _FILLED_SIZE), interpolation=cv2.INTER_LINEAR), np.float32)


def _soft_regions(coarse_region: IntArray, colours: FloatArray) -> FloatArray:
    """(n, n, 3) the colours (R, 3) of the regions, blended into those of their neighbours at their borders."""
    padded = np.zeros((len(colours) + 1, 4), np.float32)
    padded[:-1, :3], padded[:-1, 3] = colours, 1
    blurred = np.asarray(
        cv2.GaussianBlur(padded[coarse_region], (0, 0), _BORDER_SIGMA_TEXELS / _BORDER_STEP), np.float32
    )
    return _resized(np.asarray(blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3), np.float32))


def _pull_push(weighted: FloatArray, prior_weight: float, growth: float) -> FloatArray:
    """(3, n, n) differences everywhere, from differences times their weight, and weight 0…1, (4, n, n)."""
    size, weight = weighted.shape[1], weighted[3]
    known = weighted[:3] / np.maximum(weight, 1e-6)
    if size <= _SMALLEST_SIZE:
        return np.asarray(known * (weight / (weight + prior_weight)))
    half = (size // 2, size // 2)
    coarse = np.stack([cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in weighted])
    # A quarter of a known square counts as a whole one: averages must not fade where little is known.
    scale = np.minimum(4 * coarse[3], 1) / np.maximum(coarse[3], 1e-6)
    pulled = _pull_push(np.asarray(coarse * scale, np.float32), growth * prior_weight, growth)
    below = np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR) for plane in pulled])
    share = weight / (1 + prior_weight)
    return np.asarray(share * known + (1 - weight) * below / (1 + prior_weight))
