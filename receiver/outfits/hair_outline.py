"""Lets hair out, or takes it in, until the head has the outline that was seen.

Hair is scaled in each direction as far as it is hair still; what that leaves, the scalp moves.  Of the front of the
head, which an outline does not show, nothing moves.  Headwear has its own sides, and follows at the crown alone.

Shapes: V' vertices of the template, S sectors of `common.head_outline`.
"""

from dataclasses import replace

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from common.head_outline import SECTORS, between_sectors, directions_of, head_vertices, in_sectors, middle_of, radii
from receiver.outfits.dressing import PARTS, Outfit
from receiver.outfits.mixture import Kinds

_HAIR, _JAW = PARTS.index("hair"), list(SECTORS).index("jaw")
# Hair that reaches down to the jaw.
_LONG = ("medium", "long")
# Hair is scaled by at least and at most so much, and what is thinner is no hair, metres.
_LEAST, _MOST, _THIN_M = 0.25, 3.0, 0.004
# Times that the scalp is moved: sectors reach into each other.
_TURNS = 2
# Which way forward, as a share of a direction, the scalp moves no more, and moves fully.
_FRONT = (-0.8, -0.45)


class HairOutline:
    """Fits the hair of outfits."""

    def __init__(self, template: BodyTemplate) -> None:
        self._head = head_vertices(template.region)
        self._middle = middle_of(template.rest[self._head])
        self._about = template.rest[self._head] - self._middle
        self._directions = directions_of(self._about[:, :2])
        away = self._about / np.linalg.norm(self._about, axis=1, keepdims=True)
        fixed, moved = _FRONT
        follows = np.clip((away[:, 2] - fixed) / (moved - fixed), 0, 1)
        self._away = (away * (follows * follows * (3 - 2 * follows))[:, None]).astype(np.float32)
        self._scalp: BoolArray = template.region[self._head] == REGION_INDEX["scalp"]
        self._bare = radii(self._about[:, :2])

    def with_hair(self, outfit: Outfit, kinds: Kinds, outline: FloatArray, skull: FloatArray) -> Outfit:
        """An outfit with hair, or headwear, to this outline.

        Args:
            outline: (S,) beyond the bare mean head, metres; NaN where it is not known.
            skull: (V', 3) displacement of the bare head, metres.
        """
        field, is_hair = outfit.displacement[self._head], outfit.part[self._head] == _HAIR
        bare = self._about + skull[self._head]
        skull_m, reach = self._beyond(bare), self._beyond(bare + field)
        wanted, known = outline - skull_m, ~np.isnan(outline)
        known[1:] &= kinds["headwear"] == "none"
        known[_JAW] &= kinds["hair"] in _LONG
        thickness = np.maximum(reach - skull_m, _THIN_M)
        scale = np.where(known, np.clip(wanted / thickness, _LEAST, _MOST), 1)
        field = np.where(is_hair[:, None], field * between_sectors(scale, self._directions)[:, None], field)
        moves = is_hair | self._scalp
        for _ in range(_TURNS):
            left = np.where(known, outline - self._beyond(bare + field), 0)
            field = field + self._away * (between_sectors(left, self._directions) * moves)[:, None]
        displacement = outfit.displacement.copy()
        displacement[self._head] = field
        return replace(outfit, displacement=displacement)

    def _beyond(self, head: FloatArray) -> FloatArray:
        """(S,) how far a head (H, 3) about the middle reaches beyond the bare mean one, metres."""
        return np.asarray(in_sectors(radii(head[:, :2]) - self._bare).mean(axis=0), np.float32)
