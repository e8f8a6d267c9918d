"""Paints a whole body from the parts of its texture atlas that have been received.

A texel that nobody has seen takes the colour of its mirror point.  What remains is filled from its surroundings: the
difference between the colours that are known and those of their body regions is averaged over larger and larger squares
(pull-push, Gortler et al. 1996, "The Lumigraph", section 3.4) until something is known, and added to the region's
colour.  Far from all that is known, the difference counts less.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout, Texture, sample
from common.weights.devices import to_numpy
from receiver.body.received_texture import ReceivedTexture
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg

# People whose paint is kept.
_CACHED_PEOPLE = 32
# A person is painted again when a region's colour has changed by this much, 0…1.
_REGION_CHANGE = 0.04
# Weight of no difference from the region's colour, in texels of each level of the pyramid.
_REGION_WEIGHT = 0.02
_SMALLEST_SIZE = 4
# What is known of a region counts as much as the region's colour when it is this share of the region's texels.
_REGION_TEXELS_SHARE = 0.02
_REGION_STEP = 4
# Width of the blend at borders of regions, and the step at which it is computed.
_BORDER_SIGMA_TEXELS, _BORDER_STEP = 8.0, 4


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """The colours of one person.

    Args:
        texture: of the skin.
        vertices: (V', 3) uint8 RGB of the skin's vertices.
    """

    texture: MeshTexture
    vertices: ByteArray


class Painter:
    """Paints people; paint is cached by the identity of the `ReceivedTexture` object.

    Args:
        body: its layout of the atlas.
        template: its outer mesh.
    """

    def __init__(self, body: BodyModel, template: BodyTemplate) -> None:
        self._layout = AtlasLayout.of(body)
        self._corners = TextureCorners.of(template.faces, to_numpy(body.texture_coordinates)[template.face_index])
        self._coordinates = self._corners.coordinates[: len(template)]
        self._cache: OrderedDict[ReceivedTexture, tuple[Paint, FloatArray]] = OrderedDict()
        self._lock = threading.Lock()

    def paint(self, received: ReceivedTexture, region_colours: FloatArray) -> Paint:
        """The colours of one person.

        Args:
            received: what has arrived of the atlas.
            region_colours: (R, 3) in 0…1.
        """
        with self._lock:
            cached = self._cache.get(received)
        if cached is not None and np.abs(cached[1] - region_colours).max() < _REGION_CHANGE:
            return cached[0]
        paint = self._paint(received, region_colours)
        with self._lock:
            self._cache[received] = paint, region_colours.copy()
            self._cache.move_to_end(received)
            while len(self._cache) > _CACHED_PEOPLE:
                self._cache.popitem(last=False)
        return paint

    def _paint(self, received: ReceivedTexture, region_colours: FloatArray) -> Paint:
        atlas = complete(self._layout, received.texture(), region_colours)
        vertices = np.rint(sample(atlas, self._coordinates)).astype(np.uint8)
        return Paint(MeshTexture(self._corners, encode_jpeg(atlas)), vertices)


def complete(layout: AtlasLayout, texture: Texture, region_colours: FloatArray) -> ByteArray:
    """(S, S, 3) uint8 RGB: a whole atlas, with seams extended beyond the skin.

    Args:
        layout: of the atlas.
        texture: what is known of it.
        region_colours: (R, 3) in 0…1.
    """
    known = texture.known.ravel()[layout.texel]
    colours = texture.colours.reshape(-1, 3)[layout.texel]
    unknown = np.flatnonzero(~known)
    mirror = layout.mirror[unknown]
    mirrored = (mirror >= 0) & known[mirror]
    colours[unknown[mirrored]] = colours[mirror[mirrored]]
    known[unknown[mirrored]] = True
    seen, unknown = np.flatnonzero(known), unknown[~mirrored]
    if len(unknown):
        base = _soft_regions(layout, _region_means(layout, colours, seen, region_colours))
        filled = base[unknown] + _spread(layout, colours[seen] - base[seen], seen, unknown)
        colours[unknown] = np.rint(filled).clip(0, 255)
    atlas = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    atlas[layout.texel] = colours
    return layout.extended(atlas.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))


def _region_means(layout: AtlasLayout, colours: ByteArray, seen: IntArray, region_colours: FloatArray) -> FloatArray:
    """(R, 3) 0…255: the mean of what is known of each region; where little is, the region's colour (R, 3), 0…1."""
    some, count = seen[::_REGION_STEP], len(region_colours)
    region = layout.region[some]
    sums = np.stack([np.bincount(region, colours[some, channel], count) for channel in range(3)], axis=1)
    texels = np.bincount(layout.region, minlength=count)[:, None] / _REGION_STEP
    prior = _REGION_TEXELS_SHARE * texels + 1
    means = (sums + prior * 255 * region_colours) / (np.bincount(region, minlength=count)[:, None] + prior)
    return np.asarray(means, np.float32)


def _soft_regions(layout: AtlasLayout, means: FloatArray) -> FloatArray:
    """(T, 3) the colour (R, 3) of each texel's region, blended into those of its neighbours at their borders."""
    image = np.zeros((ATLAS_SIZE**2, 4), np.float32)
    image[layout.texel, :3] = means[layout.region]
    image[layout.texel, 3] = 1
    coarse = image.reshape(ATLAS_SIZE, ATLAS_SIZE, 4)[::_BORDER_STEP, ::_BORDER_STEP].copy()
    blurred = np.asarray(cv2.GaussianBlur(coarse, (0, 0), _BORDER_SIGMA_TEXELS / _BORDER_STEP), np.float32)
    soft = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)
    soft = np.asarray(cv2.resize(soft, (ATLAS_SIZE, ATLAS_SIZE), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(soft.reshape(-1, 3)[layout.texel])


def _spread(layout: AtlasLayout, difference: FloatArray, seen: IntArray, unknown: IntArray) -> FloatArray:
    """Differences at unknown texels, from those at seen ones, at half the resolution, because they are smooth.

    Args:
        layout: of the atlas.
        difference: (n, 3).
        seen: (n,) positions among the layout's texels.
        unknown: (m,) positions, too.
    """
    weighted = np.zeros((ATLAS_SIZE**2, 4), np.float32)
    weighted[layout.texel[seen], :3] = difference
    weighted[layout.texel[seen], 3] = 1
    size = ATLAS_SIZE // 2
    half = cv2.resize(weighted.reshape(ATLAS_SIZE, ATLAS_SIZE, 4), (size, size), interpolation=cv2.INTER_AREA)
    row, column = np.divmod(layout.texel[unknown], ATLAS_SIZE)
    return np.asarray(_pull_push(np.asarray(half, np.float32))[row // 2, column // 2])


def _pull_push(weighted: FloatArray) -> FloatArray:
    """(n, n, 3) differences everywhere, from differences (n, n, 4) times their weight, and weight 0…1."""
    size = len(weighted)
    weight = weighted[..., 3:]
    known = weighted[..., :3] / np.maximum(weight, 1e-6)
    if size <= _SMALLEST_SIZE:
        return np.asarray(known * (weight / (weight + _REGION_WEIGHT)))
    coarse = np.asarray(cv2.resize(weighted, (size // 2, size // 2), interpolation=cv2.INTER_AREA), np.float32)
    # A quarter of a known square counts as a whole one: averages must not fade where little is known.
    scale = np.minimum(4 * coarse[..., 3:], 1) / np.maximum(coarse[..., 3:], 1e-6)
    below = cv2.resize(_pull_push(np.asarray(coarse * scale, np.float32)), (size, size), interpolation=cv2.INTER_LINEAR)
    share = weight / (1 + _REGION_WEIGHT)
    return np.asarray(share * known + (1 - weight) * below / (1 + _REGION_WEIGHT))
