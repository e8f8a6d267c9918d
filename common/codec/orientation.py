"""Orientation of a person as a residual rotation, bit-identical on every machine.

The six orientation entries of the `root` group are the first two columns of a rotation matrix R, divided by
`ROTATION_SCALE`.  They have three degrees of freedom, so the codec transmits three numbers: the modified Rodrigues
parameters vec(q) / (1 + w) of the unit quaternion q = (w, vec) of R̂ᵀ R, times 4, where R̂ is the predicted orientation.
For small angles they are the rotation vector in the body's axes, radians; they have no singularity up to a whole turn.

Encoder and decoder must compute equal integers.  All arithmetic is on Python floats with + − × ÷ and `math.sqrt`,
which IEEE 754 rounds correctly, one operation at a time; no library of linear algebra and no transcendental function.
"""

import math
from collections.abc import Sequence
from typing import Final

from common.codec.quantiser import UNIT
from common.labels import ROTATION_SCALE

Vector = tuple[float, float, float]
Rotation = tuple[Vector, Vector, Vector]
"""The three columns of a rotation matrix."""

ENTRIES: Final = 6
"""Number of orientation entries, which lead the `root` group; the first 3 hold the residual rotation while coded."""
_ENTRY_UNIT: Final = UNIT / ROTATION_SCALE
_UPRIGHT: Final[Rotation] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_SMALLEST: Final = 1e-3


def rotation_of(entries: Sequence[int]) -> Rotation:
    """The rotation in six entries, 2⁻¹⁶ σ, by Gram–Schmidt as in `common.body.label_space`.

    Upright and facing the camera where the entries have no direction, as zeros do.
    """
    first = _scaled(entries[:3])
    length = math.sqrt(_dot(first, first))
    if length < _SMALLEST:
        return _UPRIGHT
    a = (first[0] / length, first[1] / length, first[2] / length)
    second = _scaled(entries[3:])
    along = _dot(a, second)
    rest = (second[0] - along * a[0], second[1] - along * a[1], second[2] - along * a[2])
    length = math.sqrt(_dot(rest, rest))
    if length < _SMALLEST:
        return _UPRIGHT
    b = (rest[0] / length, rest[1] / length, rest[2] / length)
    return a, b, _cross(a, b)


def entries_of(rotation: Rotation) -> list[int]:
    """The six entries of a rotation, 2⁻¹⁶ σ."""
    return [round(value * _ENTRY_UNIT) for column in rotation[:2] for value in column]


def residual_of(predicted: Rotation, rotation: Rotation) -> Vector:
    """(3,) parameters of `rotation` relative to `predicted`, in 2⁻¹⁶ of an entry's unit."""
    # m[i][j] is row i, column j of R̂ᵀ R.
    m = [[_dot(row, column) for column in rotation] for row in predicted]
    w, x, y, z = _quaternion(m)
    scale = (4.0 if w >= 0.0 else -4.0) * _ENTRY_UNIT / (1.0 + abs(w))
    return x * scale, y * scale, z * scale


def rotated(predicted: Rotation, residual: Sequence[int]) -> Rotation:
    """The inverse of `residual_of`: R̂ turned by the parameters (3,)."""
    x, y, z = (value / _ENTRY_UNIT / 4.0 for value in residual)
    square = x * x + y * y + z * z
    share = 2.0 / (1.0 + square)
    x, y, z, w = x * share, y * share, z * share, (1.0 - square) / (1.0 + square)
    columns = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)),
        (2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)),
        (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)),
    )
    first, second, third = (_applied(predicted, column) for column in columns)
    return first, second, third


def angles_between(entries: Sequence[int], rotation: Rotation) -> list[int]:
    """(3,) magnitude of the small rotation from six `entries` to `rotation` around each body axis, 2⁻¹⁶ units."""
    a, b, c = rotation
    first = _difference(a, entries[:3])
    second = _difference(b, entries[3:])
    return [round(abs(_dot(second, c))), round(abs(_dot(first, c))), round(abs(_dot(first, b)))]


def _difference(column: Vector, entries: Sequence[int]) -> Vector:
    """A column minus the one in `entries`, in 2⁻¹⁶ units."""
    x, y, z = entries
    return column[0] * _ENTRY_UNIT - x, column[1] * _ENTRY_UNIT - y, column[2] * _ENTRY_UNIT - z


def _scaled(entries: Sequence[int]) -> Vector:
    x, y, z = entries
    return x / _ENTRY_UNIT, y / _ENTRY_UNIT, z / _ENTRY_UNIT


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _applied(rotation: Rotation, vector: Vector) -> Vector:
    a, b, c = rotation
    x, y, z = vector
    return (
        a[0] * x + b[0] * y + c[0] * z,
        a[1] * x + b[1] * y + c[1] * z,
        a[2] * x + b[2] * y + c[2] * z,
    )


def _quaternion(m: list[list[float]]) -> tuple[float, float, float, float]:
    """The unit quaternion (w, x, y, z) of a rotation matrix of rows, from its largest component (Shepperd, 1978)."""
    trace = m[0][0] + m[1][1] + m[2][2]
    squares = (trace, m[0][0], m[1][1], m[2][2])
    largest = max(range(4), key=squares.__getitem__)
    root = math.sqrt(max(1.0 + 2.0 * squares[largest] - trace, _SMALLEST))
    share = 0.5 / root
    differences = (m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1])
    if largest == 0:
        return root / 2, differences[0] * share, differences[1] * share, differences[2] * share
    axis = largest - 1
    vector = [(m[axis][other] + m[other][axis]) * share for other in range(3)]
    vector[axis] = root / 2
    return differences[axis] * share, vector[0], vector[1], vector[2]
