"""Cloth hangs: below its widest place a garment does not follow the body back in.

Around the axis of a limb or of the trunk, a garment has a radius in each direction.  Downwards it narrows by no more
than a given share, and where the skin recedes faster, the cloth stays out.  Of 42 clothed avatars in trousers and shoes
the radius of a leg of cloth is 75 mm at the knee and 71 mm at the hem, that of the template's skin 58 and 38 mm.

Shapes: V' vertices of the template, M of them on a tube.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from common.arrays import BoolArray, FloatArray

_DIRECTIONS, _ROWS, _SMOOTH = 20, 32, 1.0
# What faces away from the axis less than this hangs less.
_FACING = 0.5


class Tube:
    """A part of the body that cloth hangs around.

    Args:
        rest: (V', 3) the template.
        normals: (V', 3) of it.
        inside: (V',) the vertices on the tube.
        along: (V',) how far down they are.
        narrowing: the share of its radius that cloth may lose from one unit of `along` to the next.
    """

    def __init__(
        self, rest: FloatArray, normals: FloatArray, inside: BoolArray, along: FloatArray, narrowing: float
    ) -> None:
        self._inside, down = inside, along[inside].astype(np.float64)
        self._row = (down - down.min()) / np.ptp(down) * (_ROWS - 1)
        self._kept = (1 - narrowing) ** (np.ptp(down) / (_ROWS - 1))
        places = rest[inside].astype(np.float64)
        # The axis bends at most once.
        bend = np.stack([np.ones_like(down), down, np.maximum(down - 1, 0)], 1)
        self._axis = bend @ np.linalg.lstsq(bend, places, rcond=None)[0]
        lower, upper = self._row > 0.75 * _ROWS, self._row < 0.25 * _ROWS
        direction = self._axis[lower].mean(0) - self._axis[upper].mean(0)
        direction /= np.linalg.norm(direction)
        across = places - self._axis
        across -= (across @ direction)[:, None] * direction
        self._unit = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
        side = np.cross(direction, [0.0, 0.0, 1.0])
        angle = np.arctan2(self._unit @ np.cross(side, direction), self._unit @ side)
        self._turn = (angle / (2 * np.pi) + 0.5) * _DIRECTIONS
        self._share = np.clip(np.einsum("md,md->m", self._unit, normals[inside]) / _FACING, 0, 1)

    def hung(self, position: FloatArray, cloth: BoolArray, amount: float) -> FloatArray:
        """(V', 3) how far cloth moves outwards.

        Args:
            position: (V', 3) of the garment.
            cloth: (V',) where the garment is.
            amount: 0 for cloth that clings, 1 for cloth that hangs freely.
        """
        moved = np.zeros_like(position)
        on = cloth[self._inside]
        radius_m = np.einsum("md,md->m", position[self._inside] - self._axis, self._unit)
        widest_m = np.zeros((_ROWS, _DIRECTIONS))
        place = self._row.astype(int)[on], self._turn.astype(int)[on] % _DIRECTIONS
        np.maximum.at(widest_m, place, radius_m[on])
        for row in range(1, _ROWS):
            widest_m[row] = np.maximum(widest_m[row], widest_m[row - 1] * self._kept)
        widest_m = gaussian_filter1d(widest_m, _SMOOTH, axis=1, mode="wrap")
        wanted_m = map_coordinates(widest_m, [self._row, self._turn - 0.5], order=1, mode="grid-wrap")
        out_m = amount * self._share * np.maximum(wanted_m - radius_m, 0) * on
        moved[self._inside] = self._unit * out_m[:, None]
        return moved
