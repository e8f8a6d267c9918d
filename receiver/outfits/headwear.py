"""Caps, hats, beanies, helmets, hoods and scarves: domes around the head of the template."""

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from receiver.outfits.shells import Shells

# How far domes are from the skull, metres, and how far down they reach: at the front and at the back, in half heights
# of the head above its centre.
_DOMES = {
    "cap": (0.010, 0.38, -0.25),
    "beanie": (0.012, 0.42, -0.35),
    "helmet": (0.032, 0.34, -0.55),
    "hat": (0.016, 0.36, -0.1),
}
_RIM_M, _RIM, _SNAP = 0.006, 0.22, 0.04
_VISOR_M, _VISOR = 0.07, 0.13
_BRIM_M, _BRIM, _CROWN_M = 0.06, 0.24, 0.025
_HOOD_M, _SCARF_M = 0.022, 0.012
_HOOD_TOP = 0.52
_FACE_WIDTH = 0.66


class Headwear:
    """Puts headwear on the template."""

    def __init__(self, template: BodyTemplate, normals: FloatArray, shells: Shells) -> None:
        self._rest, self._normals = template.rest, normals
        head = np.isin(template.region, [REGION_INDEX["face"], REGION_INDEX["scalp"]]) & template.outside
        scalp = template.region == REGION_INDEX["scalp"]
        low, high = self._rest[scalp].min(0), self._rest[scalp].max(0)
        self._centre = np.array([0, low[1] + 0.115, (low[2] + high[2]) / 2 - 0.012], np.float32)
        self._radius = np.array([(high[0] - low[0]) / 2, 0.115, (high[2] - low[2]) / 2 + 0.012], np.float32)
        relative = (self._rest - self._centre) / self._radius
        self._side, self._up, self._back = relative[:, 0], -relative[:, 1], relative[:, 2]
        self._head = head
        self._neck = (shells.limb[:, 2] > 0.97) & ~head & (shells.limb[:, 0] < 0) & template.outside

    def put_on(self, kind: str, field: FloatArray) -> None:
        """Changes the displacement (V', 3) where the headwear is."""
        if kind in _DOMES:
            self._dome(kind, field)
        elif kind in ("hood", "scarf"):
            self._hood(_HOOD_M if kind == "hood" else _SCARF_M, field)

    def _dome(self, kind: str, field: FloatArray) -> None:
        thickness_m, front, back = _DOMES[kind]
        rim = front + (back - front) * np.clip((self._back + 1) / 2, 0, 1)
        inside = self._head & (self._up > rim - _SNAP)
        shell = self._ellipsoid(thickness_m) - self._rest
        # What is near to the rim lies on it: the template's vertices are not in rows there.
        to_rim_m = self._centre[1] - rim * self._radius[1] - self._rest[:, 1]
        on_rim = np.abs(self._up - rim) < _SNAP
        shell[on_rim, 1] = to_rim_m[on_rim]
        if kind == "beanie":
            shell = shell + self._normals * (_RIM_M * (self._up < rim + _RIM))[:, None]
        if kind == "cap":
            visor = np.clip((-self._back - 0.45) / 0.4, 0, 1) * (self._up < rim + _VISOR)
            shell = shell + visor[:, None] * np.array([0, 0.012, -_VISOR_M], np.float32)
        if kind == "hat":
            around = np.stack([self._side, np.zeros_like(self._side), self._back], 1)
            around /= np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-6)
            shell[:, 1] -= _CROWN_M * np.clip((self._up - rim) / 0.4, 0, 1)
            share = np.clip((rim + _BRIM - self._up) / _BRIM, 0, 1)
            shell[:, 1] += np.clip(2 * share, 0, 1) * (to_rim_m - shell[:, 1])
            shell = shell + _BRIM_M * around * share[:, None]
        field[inside] = shell[inside]

    def _hood(self, thickness_m: float, field: FloatArray) -> None:
        """Everything but the face, and the neck."""
        face = (self._back < 0.05) & (self._up < _HOOD_TOP) & (np.abs(self._side) < _FACE_WIDTH)
        inside = self._head & ~face & (self._up > -1.3)
        shell = self._ellipsoid(thickness_m) - self._rest
        lower = self._up < 0
        shell[lower] = (self._normals * thickness_m)[lower]
        field[inside] = shell[inside]
        field[self._neck] = (self._normals * thickness_m)[self._neck]

    def _ellipsoid(self, thickness_m: float) -> FloatArray:
        """(V', 3) the points of a smooth skull that are in the direction of the vertices."""
        direction = (self._rest - self._centre) / self._radius
        length = np.linalg.norm(direction, axis=1, keepdims=True)
        return np.asarray(
            self._centre + direction / np.maximum(length, 1e-6) * (self._radius + thickness_m), np.float32
        )
