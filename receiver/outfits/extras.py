"""Glasses and gloves: what few people wear, and lies over all else.

Shapes: V' vertices of the template.
"""

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from receiver.outfits.mixture import Kinds
from receiver.outfits.shells import Shells

# Places on the face are to the side, downwards and backwards from the tip of the nose, metres.
# Lenses: their middle, half width and half height, and the exponent of the outline; their plane is so far back, and
# bends back with the square of the distance from the middle.
_LENS_M, _LENS_SIZE_M, _SQUARENESS = (0.032, -0.036), (0.028, 0.019), 2.6
_PLANE_M, _WRAP_PER_M = 0.010, 5.0
# What lies behind that is no front of the face.
_FRONT_M = 0.05
# What is this near to the outline, in its radii, moves onto it.
_SNAP = 0.1
# The bridge between the lenses: half width, highest and lowest place; and the bars to the ears.
_BRIDGE_M, _BARS_M, _BAR_ENDS_M = (0.008, -0.046, -0.036), (-0.047, -0.039), (0.022, 0.105)
# The frame of glasses is a ring around what is free: from and to where vertices move onto its edges, and its edges.
_RING, _RING_EDGES = (0.72, 1.0, 1.3), (0.86, 1.08)
_BAR_M = 0.0045
# Gloves: thickness on the hand and at the cuff, and where on the arm cuffs begin and bulge (wrist: 2).
_GLOVE_M, _CUFF_M, _CUFF = 0.0025, 0.006, (1.86, 1.96)


class Extras:
    """Puts extras on the template."""

    def __init__(self, template: BodyTemplate, normals: FloatArray, shells: Shells) -> None:
        rest, self._normals = template.rest, normals
        middle = np.flatnonzero(np.abs(rest[:, 0]) < 0.01)
        nose = rest[middle[rest[middle, 2].argmin()]]
        self._place = np.column_stack([np.abs(rest[:, 0]), rest[:, 1:] - nose[1:]])
        self._side = np.sign(rest[:, :1])
        self._across, self._radius = self._outline()
        self._face = template.region == REGION_INDEX["face"]
        self._before_eyes = self._face & (self._place[:, 2] < _FRONT_M)
        self._face &= template.outside
        self._hand = np.isin(template.region, [REGION_INDEX["hand.L"], REGION_INDEX["hand.R"]])
        self._arm = shells.limb[:, 0]

    def put_on(self, kinds: Kinds, field: FloatArray, cloth: BoolArray) -> None:
        """Changes the displacement (V', 3); gloves end beneath cloth, which is outermost where `cloth` (V',) is set."""
        if kinds["eyewear"] == "sunglasses":
            self._lenses(field)
        elif kinds["eyewear"] == "glasses":
            self._frame(field)
        if kinds["hands"] == "gloves":
            self._gloves(field, cloth)

    def _lenses(self, field: FloatArray) -> None:
        """Solid lenses, a bridge and bars."""
        radius = self._radius
        rim = (radius > 1 - _SNAP) & (radius < 1 + _SNAP)
        self._put_before_eyes(field, radius < 1 + _SNAP, np.where(rim, 1, radius))

    def _frame(self, field: FloatArray) -> None:
        """Rings, a bridge and bars."""
        radius = self._radius
        begin, middle, end = _RING
        edge = np.where(radius < middle, *_RING_EDGES)
        self._put_before_eyes(field, (radius > begin) & (radius < end), edge)

    def _put_before_eyes(self, field: FloatArray, inside: BoolArray, radius: FloatArray) -> None:
        """Moves what is inside into the plane before the eyes, (V',) so far from the middle of the lens."""
        middle = np.array(_LENS_M, np.float32)
        level = middle + self._across * (radius / np.maximum(self._radius, 1e-6))[:, None]
        bridge = self._bridge()
        level[bridge] = self._place[bridge, :2]
        solid = self._before_eyes & (inside | bridge)
        back = _PLANE_M + _WRAP_PER_M * level[:, 0] ** 2
        moved = (np.column_stack([level, back]) - self._place).astype(np.float32)
        moved[:, :1] *= self._side
        field[solid] = moved[solid]
        self._bars(field, solid)

    def _outline(self) -> tuple[FloatArray, FloatArray]:
        """(V', 2) places around the middle of the lens, and (V',) how far out they are: 1 on the outline."""
        across = self._place[:, :2] - np.array(_LENS_M, np.float32)
        share = np.abs(across) / np.array(_LENS_SIZE_M, np.float32)
        return across, np.asarray((share**_SQUARENESS).sum(axis=1) ** (1 / _SQUARENESS), np.float32)

    def _bridge(self) -> BoolArray:
        half_m, high_m, low_m = _BRIDGE_M
        side, down, _ = self._place.T
        return np.asarray((side < half_m) & (down > high_m) & (down < low_m))

    def _bars(self, field: FloatArray, but: BoolArray) -> None:
        _, down, back = self._place.T
        bar = self._face & ~but & (down > _BARS_M[0]) & (down < _BARS_M[1])
        bar &= (back > _BAR_ENDS_M[0]) & (back < _BAR_ENDS_M[1]) & (self._radius > 1)
        field[bar] += (self._normals * np.float32(_BAR_M))[bar]

    def _gloves(self, field: FloatArray, cloth: BoolArray) -> None:
        begin, bulge = _CUFF
        cuff = (self._arm > begin) & ~self._hand & ~cloth
        swell = _CUFF_M * np.clip(1 - np.abs(self._arm - bulge) / (2 * (bulge - begin)), 0, 1)
        thickness_m = np.where(self._hand, np.maximum(_GLOVE_M, swell), swell)
        on = self._hand | cuff
        field[on] = (self._normals * thickness_m[:, None].astype(np.float32))[on]
