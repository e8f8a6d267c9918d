"""Rates of systems at equal error, interpolated on their rate-distortion curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Bound = Literal["none", "at_least", "at_most"]
Curve = Sequence[tuple[float, float]]
"""Bytes a frame and error of several settings."""


@dataclass(frozen=True, slots=True)
class EqualRate:
    """The rate at which a system has a given error.

    Args:
        frame_bytes: mean bytes a frame.
        bound: `at_least` if no setting has so small an error, `at_most` if the cheapest one has.
    """

    frame_bytes: float
    bound: Bound = "none"


def equal_rate(curves: Sequence[Curve], error: float) -> EqualRate:
    """The rate of the cheapest curve, each interpolated at an error, or of the setting nearest to it."""
    frontiers = [frontier(curve) for curve in curves]
    reaching = [_interpolated(points, error) for points in frontiers if points[-1][1] <= error]
    if reaching:
        return min(reaching, key=lambda rate: rate.frame_bytes)
    nearest = min((points[-1] for points in frontiers), key=lambda point: point[1])
    return EqualRate(nearest[0], "at_least")


def frontier(curve: Curve) -> list[tuple[float, float]]:
    """The points whose error no cheaper point has, the cheapest first: errors fall strictly."""
    points: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not points or point[1] < points[-1][1]:
            points.append(point)
    return points


def _interpolated(points: Curve, error: float) -> EqualRate:
    if points[0][1] <= error:
        return EqualRate(points[0][0], "at_most")
    sizes, errors = np.array(points[::-1]).T
    return EqualRate(float(np.exp(np.interp(error, errors, np.log(sizes)))))
