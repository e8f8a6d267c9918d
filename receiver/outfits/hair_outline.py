"""Lets hair out, or takes it in, until the head has the outline that was seen.

Seen from the front, hair and scalp are scaled about the middle of the head, in each direction by the ratio of both
outlines.  Below the ears, where hair hangs, it is scaled across alone; at the back, as above.  The front of the head,
which an outline does not show, stays.  Headwear has its own sides, and follows at the crown alone.

Shapes: V' vertices of the template, S sectors of `common.head_outline`.
"""

from dataclasses import replace

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from common.head_outline import SECTORS, between_sectors, directions_of, head_vertices, in_sectors, middle_of, radii
from receiver.outfits.dressing import PARTS, Outfit
from receiver.outfits.mixture import LONG_HAIR, Kinds

_HAIR = PARTS.index("hair")
_CROWN, _TEMPLES, _, _JAW = range(len(SECTORS))
# How far heads and hair reach at least beyond the bare head, and the crown beyond the temples at most, metres: what is
# seen to be smaller or higher is an error of where the head is; of large faces, seven of eight crowns are less high.
_LEAST_M, _LEAST_HAIR_M, _HIGHER_M = -0.006, 0.003, 0.02
# Least and largest ratio at once, and how often the head is scaled: sectors reach into each other.
_RATIOS, _TURNS = (0.7, 1.5), 2
# Which way forward, as a share of a direction, nothing is scaled, and all is.
_FRONT = (-0.8, -0.45)
# Cosine of the direction from the crown, from which on heads are scaled fully upwards.
_ABOVE = 0.5


class HairOutline:
    """Fits the hair of outfits."""

    def __init__(self, template: BodyTemplate) -> None:
        self._head = head_vertices(template.region)
        self._about = template.rest - middle_of(template.rest[self._head])
        away = self._about[:, 2] / np.linalg.norm(self._about, axis=1)
        fixed, scaled = _FRONT
        follows = np.clip((away - fixed) / (scaled - fixed), 0, 1)
        self._follows: FloatArray = (follows * follows * (3 - 2 * follows)).astype(np.float32)
        self._scalp: BoolArray = template.region == REGION_INDEX["scalp"]
        self._bare = self._reach(self._about)

    def with_hair(self, outfit: Outfit, kinds: Kinds, outline: FloatArray, skull: FloatArray) -> Outfit:
        """An outfit with hair, or headwear, to this outline.

        Args:
            outline: (S,) beyond the bare mean head, metres; NaN where it is not known.
            skull: (V', 3) displacement of the bare head, metres.
        """
        least = self._reach(self._about + skull) - self._bare + (_LEAST_M if kinds["hair"] == "bald" else _LEAST_HAIR_M)
        outline = np.maximum(outline, least)
        if kinds["headwear"] == "none":
            outline[_CROWN] = np.fmin(outline[_CROWN], outline[_TEMPLES] + _HIGHER_M)
        known = ~np.isnan(outline)
        known[1:] &= kinds["headwear"] == "none"
        known[_JAW] &= kinds["hair"] in LONG_HAIR
        moves = (outfit.part == _HAIR) | self._scalp
        places = self._about + skull + outfit.displacement
        for _ in range(_TURNS):
            reach = self._reach(places)
            wanted = np.where(known, self._bare + outline, reach)
            ratio = np.asarray(np.clip(wanted / reach, *_RATIOS) - 1, np.float32)
            places[moves] = self._scaled(places[moves], ratio, self._follows[moves])
        displacement = outfit.displacement.copy()
        displacement[moves] = (places - self._about - skull)[moves]
        return replace(outfit, displacement=displacement)

    @staticmethod
    def _scaled(places: FloatArray, ratio: FloatArray, follows: FloatArray) -> FloatArray:
        """Places (N, 3) about the middle, scaled by 1 + ratio (S,), as far as each follows."""
        directions = directions_of(places[:, :2])
        across = follows * between_sectors(ratio, directions)
        above = np.clip(np.cos(np.deg2rad(directions)) / _ABOVE, 0, 1)
        behind = follows * ratio[:_JAW].mean() * (places[:, 2] > 0)
        return np.asarray(places * (1 + np.stack([across, above * across, behind], axis=1)), np.float32)

    def _reach(self, places: FloatArray) -> FloatArray:
        """(S,) how far a head, of places (V', 3) about its middle, reaches, metres."""
        return np.asarray(in_sectors(radii(places[self._head, :2])).mean(axis=0), np.float32)
