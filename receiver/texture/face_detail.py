"""Draws the features of a face where the received colours do not show them.

A face in a camera's picture is often 20 to 60 pixels high.  The colours that arrive then say what its skin is like, but
show neither eyes nor lips.  These are added as detail relative to what was received: lips are a redder and darker tone
of the skin around them, brows and lashes have the colour of the hair, eyes are plausible ones.  The sharper the
received face is, the weaker is the detail.  A sender takes the colours of eyeballs from faces that are large enough
alone: where they have arrived, the face stays as it was received.

This detail is invented: it is no likeness of the person.  It depends on the received colours only, so the same colours
always give the same face.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout
from receiver.texture.face_features import FaceFeatures, FaceGeometry

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Lumas between which eyes are brown or lighter, and eyeballs are darker or lighter.
_SKIN_LUMAS, _HAIR_LUMAS = (0.35, 0.70), (0.25, 0.55)
_BROWN, _GREY_BLUE = np.array([[0.24, 0.15, 0.09], [0.36, 0.42, 0.45]], np.float32)
_PUPIL = np.array([0.05, 0.05, 0.05], np.float32)
_DARKEST_EYEBALL, _LIGHTEST_EYEBALL = np.array([[0.62, 0.57, 0.53], [0.86, 0.83, 0.80]], np.float32)
# Where a picture is so dark that the lightest eyeballs have more than so many times the skin's luma, they are darker.
_EYEBALL_OVER_SKIN = 5.0
_THROAT, _TOOTH = np.array([[0.16, 0.05, 0.05], [0.80, 0.76, 0.69]], np.float32)
# A scalp that differs less from the skin, in any channel, may be bald.
_BALD_DIFFERENCE = 0.12
# Tones relative to the skin.
_BROW_SHADE, _LASH_SHADE = 0.42, 0.25
# Detail is what a Gaussian of this many texels removes.
_DETAIL_SIGMA_TEXELS = 2.0
# Share of the eyeballs' texels that were received, from which less is drawn, and from which nothing is.
_EYES_FROM, _EYES = 0.1, 0.3
# Their difference from the skin, of that of drawn ones, from which they are taken for eyes, and surely are.
_UNLIKE_FROM, _UNLIKE = 0.2, 0.4
# Contrast is measured at brows and lips and this far around them.
_SURROUNDINGS = np.ones((5, 5), np.uint8)
# Contrast of a received face relative to what would be drawn, from which less is drawn, and from which nothing is.
_SHARP_FROM, _SHARP = 0.5, 1.1
# A place of the cheeks shows the skin's tone.
_TONE_OPACITY = 0.3
# Places that a tone is the median of, at most; and the least opacity that is drawn.
_TONE_PLACES, _VISIBLE = 1000, 0.02

_LAYERS: tuple[tuple[str, float, tuple[float, float, float] | str], ...] = (
    ("blush", 0.35, (1.03, 0.93, 0.92)),
    ("hollow", 0.30, (0.68, 0.60, 0.57)),
    ("nostrils", 0.75, (0.40, 0.30, 0.28)),
    ("lips", 0.75, (0.86, 0.64, 0.64)),
    ("mouth", 0.80, (0.42, 0.28, 0.28)),
    ("throat", 1.00, "throat"),
    ("teeth", 1.00, "tooth"),
    ("brows", 0.72, "brow"),
    ("lashes", 0.75, "lash"),
    ("eyes", 1.00, "eyeball"),
    ("iris", 1.00, "iris"),
    ("limbus", 0.60, (0.40, 0.40, 0.40)),
    ("pupils", 1.00, "pupil"),
    ("lid_shadow", 0.50, (0.50, 0.45, 0.42)),
)
"""Features in the order in which they are drawn, their opacity, and their colour: relative to what is below, or one of
the person's, by its name."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One feature.

    Args:
        among: (k,) which of the canvas's places have it.
        opacity: (k, 1) of the feature there.
        colour: see `_LAYERS`.
    """

    among: IntArray
    opacity: FloatArray
    colour: FloatArray | str


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """The places of a face, among many places.

    Args:
        places: (n,) indices of those with features.
        layers: the features.
        cheeks: indices of places that show the tone of the skin.
        scalp: indices of places that show the hair.
    """

    places: IntArray
    layers: tuple[_Layer, ...]
    cheeks: IntArray
    scalp: IntArray

    @classmethod
    def from_features(cls, index: IntArray, features: FaceFeatures, region: IntArray) -> Self:
        """From features and regions of places with indices (N,)."""
        opacities = [opacity * getattr(features, name) for name, opacity, _ in _LAYERS]
        drawn = np.flatnonzero(np.max(opacities, axis=0) > _VISIBLE)
        layers = []
        for (_, _, colour), opacity in zip(_LAYERS, opacities, strict=True):
            among = np.flatnonzero(opacity[drawn] > _VISIBLE)
            relative = colour if isinstance(colour, str) else np.array(colour, np.float32)
            layers.append(_Layer(among, opacity[drawn][among, None], relative))
        cheeks, scalp = np.flatnonzero(features.blush > _TONE_OPACITY), np.flatnonzero(region == REGION_INDEX["scalp"])
        sampled = [index[part[:: len(part) // _TONE_PLACES + 1]] for part in (cheeks, scalp)]
        return cls(index[drawn], tuple(layers), *sampled)

    def draw(self, colours: ByteArray) -> FloatArray:
        """(n, 3) colours of `places` with features, for colours (M, 3) of all places; 0…255."""
        person = _person_colours(_median(colours[self.cheeks]), _median(colours[self.scalp]))
        drawn = colours.take(self.places, axis=0).astype(np.float32)
        for layer in self.layers:
            below = drawn.take(layer.among, axis=0)
            colour = 255 * person[layer.colour] if isinstance(layer.colour, str) else below * layer.colour
            drawn[layer.among] = below + layer.opacity * (colour - below)
        return drawn

    def with_drawn(self, colours: ByteArray, drawn: FloatArray) -> ByteArray:
        """Colours (M, 3) of all places, with others (n, 3) at `places`."""
        result = colours.copy()
        result[self.places] = np.rint(drawn.clip(0, 255)).astype(np.uint8)
        return result


class FaceDetail:
    """Draws faces on atlases and on the template's vertices.

    Attributes:
        geometry: where the features are.
    """

    def __init__(self, body: BodyModel, template: BodyTemplate, layout: AtlasLayout) -> None:
        self.geometry = geometry = FaceGeometry(body, template)
        head = np.flatnonzero(np.isin(layout.region, (REGION_INDEX["face"], REGION_INDEX["scalp"])))
        features = geometry.features(template.place[layout.corners[head]], layout.barycentric[head])
        self._texels = _Canvas.from_features(layout.texel[head].astype(np.int64), features, layout.region[head])
        self._vertices = _Canvas.from_features(np.arange(len(template)), geometry.at_vertices, template.region)
        facial = np.maximum(features.lips, features.brows) > _TONE_OPACITY
        eyes = features.eyes > _TONE_OPACITY
        texels = layout.texel[head]
        self._skin = _Part.from_texels(texels[facial])
        self._eyes = texels[eyes].astype(np.int64)
        self._in_eyes = np.isin(self._texels.places, self._eyes)[:, None]
        # No camera's picture is asked what is behind the lips.
        self._in_mouth = np.isin(self._texels.places, texels[features.throat > 0.999])[:, None]

    def on_vertices(self, colours: ByteArray) -> ByteArray:
        """(V', 3) colours of the template's vertices with a face, from those of coarse points."""
        return self._vertices.with_drawn(colours, self._vertices.draw(colours))

    def on_atlas(self, atlas: ByteArray, known: BoolArray) -> ByteArray:
        """The whole atlas (S, S, 3) with a face, as far as the received texels, `known` (S, S), show none."""
        flat, canvas = atlas.reshape(-1, 3), self._texels
        drawn = canvas.draw(flat)
        detailed = canvas.with_drawn(flat, drawn).reshape(atlas.shape)
        own = _between(float(known.reshape(-1)[self._eyes].mean()), _EYES_FROM, _EYES)
        skin = (1 - own) * self._skin.strength(atlas, detailed, known)
        eyes = 1 - own * self._contrast_of_eyes(flat, detailed.reshape(-1, 3), known.reshape(-1))
        before = flat.take(canvas.places, axis=0).astype(np.float32)
        strength = np.where(self._in_mouth, np.float32(1), np.where(self._in_eyes, np.float32(eyes), np.float32(skin)))
        weakened = before + strength * (drawn - before)
        return canvas.with_drawn(flat, weakened).reshape(atlas.shape)

    def _contrast_of_eyes(self, received: ByteArray, drawn: ByteArray, known: BoolArray) -> float:
        """0…1 how unlike the skin received eyes are, of flat atlases: lids over eyes that squint are like it."""
        eyes = self._eyes[known[self._eyes]]
        skin = float(_median(received[self._texels.cheeks]) @ _LUMA) * 255
        own, wanted = (float(np.abs(atlas[eyes] @ _LUMA - skin).sum()) for atlas in (received, drawn))
        return _between(own, _UNLIKE_FROM * wanted, _UNLIKE * wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Texels whose contrast decides how strongly the skin of the face is drawn: brows and lips.

    Args:
        window: rows and columns of the atlas.
        chosen: (h, w) which texels of the window count.
    """

    window: tuple[slice, slice]
    chosen: BoolArray

    @classmethod
    def from_texels(cls, texels: Int32Array) -> Self:
        """From indices into the flat atlas."""
        rows, columns = np.divmod(texels, ATLAS_SIZE)
        window = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
        image = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.uint8)
        image[rows, columns] = 1
        return cls(window, cv2.dilate(image[window], _SURROUNDINGS) > 0)

    def strength(self, received: ByteArray, drawn: ByteArray, known: BoolArray) -> float:
        """1 if this part of the received atlas has no detail, 0 if it has as much contrast as what would be drawn.

        Args:
            received, drawn: (S, S, 3) atlases.
            known: (S, S) which texels were received.
        """
        seen = known[self.window]
        chosen = seen & self.chosen
        if not chosen.any():
            return 1.0
        before, after = (_detail(atlas[self.window], seen)[chosen] for atlas in (received, drawn))
        missing = float(np.linalg.norm(after - before))
        return 1 - _between(float(np.linalg.norm(before)), _SHARP_FROM * missing, _SHARP * missing)


def _detail(colours: ByteArray, seen: BoolArray) -> FloatArray:
    """(h, w) luma of colours (h, w, 3) relative to its surroundings, where it is seen (h, w); 0…255."""
    luma = colours @ _LUMA
    weight = seen.astype(np.float32)
    sums, weights = (cv2.GaussianBlur(image, (0, 0), _DETAIL_SIGMA_TEXELS) for image in (luma * weight, weight))
    return np.asarray(luma - sums / np.maximum(weights, 1e-3), np.float32)


def _person_colours(skin: FloatArray, hair: FloatArray) -> dict[str, FloatArray]:
    """Colours (3,) of the named layers, from the tones of skin and hair (3,), 0…1."""
    light_skin = _between(float(skin @ _LUMA), *_SKIN_LUMAS)
    light_hair = _between(float(hair @ _LUMA), *_HAIR_LUMAS)
    shaded = np.minimum(hair, _BROW_SHADE * skin)
    hairy = min(float(np.abs(hair - skin).max()) / _BALD_DIFFERENCE, 1.0)
    return {
        "brow": hairy * (0.5 * hair + 0.5 * shaded) + (1 - hairy) * _BROW_SHADE * skin,
        "lash": np.minimum(_LASH_SHADE * skin, 0.8 * shaded + 0.2 * hair),
        "eyeball": min(1.0, _EYEBALL_OVER_SKIN * float(skin @ _LUMA))
        * (_DARKEST_EYEBALL + light_skin * (_LIGHTEST_EYEBALL - _DARKEST_EYEBALL)),
        "iris": _BROWN + light_skin * light_hair * (_GREY_BLUE - _BROWN),
        "pupil": _PUPIL,
        "throat": _THROAT,
        "tooth": _TOOTH,
    }


def _median(colours: ByteArray) -> FloatArray:
    """(3,) 0…1 of colours (n, 3), 0…255."""
    return np.asarray(np.median(colours, axis=0) / 255, np.float32)


def _between(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on."""
    return float(np.clip((value - low) / max(high - low, 1e-6), 0, 1))
