"""The isovalue of the indicator function, which varies over the surface.

The surface should pass through the points.  The indicator of a part that is thinner than a few voxels, such as a
finger, never reaches the mean isovalue of the whole body; that of a narrow gap, such as an armpit, never falls to it.
So the isovalue follows the indicator's value at the points nearby.  Kazhdan and Hoppe, Screened Poisson Surface
Reconstruction (2013), have the same aim, but need a system of equations that Fourier space does not diagonalise.
"""

import numpy as np

from common.arrays import FloatArray
from receiver.surface.spectral_poisson import Stencil

# Points where the indicator is higher than this lie inside another part of the body, which the surface does not pass
# through.  Where an arm enters the torso they would tear it open.
_INSIDE = 2.0
# Bounds of the isovalue, 0 outside the body and 1 at the mean over all points: noise outside stays below the lower one.
_LOWEST, _HIGHEST = 0.2, 1.6


def relative_to_isovalue(indicator: FloatArray, stencil: Stencil, areas: FloatArray) -> FloatArray:
    """The indicator less its local isovalue: positive inside, zero at the points as far as possible.

    Args:
        indicator: (X, Y, Z), high inside.
        stencil: of N points on the surface.
        areas: (N,) weights of the points.
    """
    at_points = stencil.sample(indicator)
    outside = float(indicator[0].mean())
    mean = float(np.average(at_points, weights=areas))
    inside = at_points - outside > _INSIDE * abs(mean - outside)
    areas = np.where(inside, 0, areas)
    level = float(np.average(at_points, weights=areas))
    amplitude = level - outside
    weight = stencil.splat(areas)
    deviation = stencil.splat(areas * (at_points - np.float32(level)))
    deviation /= np.maximum(weight, np.float32(1e-12))
    np.clip(deviation, (_LOWEST - 1) * amplitude, (_HIGHEST - 1) * amplitude, out=deviation)
    return np.asarray(indicator - np.float32(level) - deviation, np.float32)
