"""Oriented points → indicator function, by solving a Poisson equation in Fourier space, and its isovalue.

Kazhdan et al., Poisson Surface Reconstruction (2006), in the spectral form of Peng et al., Shape as Points (2021).
The gradient of the indicator function is the field of inward normals, so its Laplacian is the divergence of that field.
Each point spreads its normal with a quadratic B-spline, whose derivative is known, so the divergence is splatted
directly and one forward transform is enough.  On a periodic grid the Laplacian is a multiplication in Fourier space.

Shapes: N points, grid of X × Y × Z cells.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft

from common.arrays import FloatArray, IntArray

_ORDER = 3
"""Nodes per axis that a quadratic B-spline covers."""

# Points where the indicator is higher than this lie inside another part of the body, which the surface does not pass
# through.  Where an arm enters the torso they would tear it open.
_INSIDE = 2.0
# Bounds of the isovalue, 0 outside the body and 1 at the mean over all points: noise outside stays below the lower one.
_LOWEST, _HIGHEST = 0.2, 1.6


@dataclass(frozen=True, slots=True)
class Grid:
    """A periodic grid of cubic voxels; node (i, j, k) lies at origin + voxel_m · (i, j, k).

    Args:
        origin: (3,) position of node (0, 0, 0), metres.
        voxel_m: edge length of a voxel.
        shape: nodes along each axis.
    """

    origin: FloatArray
    voxel_m: float
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def positions(self, points: FloatArray) -> FloatArray:
        """Points (N, 3) in voxels from node (0, 0, 0)."""
        return np.asarray((points - self.origin) / np.float32(self.voxel_m), np.float32)


def bounds(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest coordinates (3,) of points (N, 3)."""
    # A tenth of the time of `min` and `max` along the first axis.
    axes = np.ascontiguousarray(points.T)
    return axes.min(axis=1), axes.max(axis=1)


def fit_grid(points: FloatArray, resolution: int, padding: int) -> Grid:
    """The smallest FFT-friendly grid around the points, `resolution` nodes along their longest side.

    Args:
        points: (N, 3), metres.
        resolution: nodes along the longest side, padding included.
        padding: empty nodes on every side, which separate the periodic copies.

    Raises:
        ValueError: the points have no extent.
    """
    low, high = bounds(points)
    extent = high - low
    if float(extent.max()) <= 0.0:
        raise ValueError("all points coincide: no surface passes through them")
    voxel_m = float(extent.max()) / (resolution - 2 * padding - 1)
    nodes = np.ceil(extent / voxel_m - 1e-4).astype(int) + 1 + 2 * padding
    shape = tuple(scipy.fft.next_fast_len(int(count), real=True) for count in nodes)
    origin = (low + high) / 2.0 - 0.5 * voxel_m * (np.array(shape) - 1)
    return Grid(origin.astype(np.float32), voxel_m, (shape[0], shape[1], shape[2]))


class Stencil:
    """The 27 grid nodes around each of N points, with the weights of a quadratic B-spline.

    Arrays have the nodes first: NumPy is several times faster with the points along the contiguous axis.

    Args:
        points: (N, 3); they are moved into the grid where they lie outside.
    """

    def __init__(self, points: FloatArray, grid: Grid) -> None:
        limit = np.array(grid.shape, np.float32) - 2
        position = np.ascontiguousarray(np.clip(grid.positions(points), 1, limit).T)
        centre = np.floor(position + np.float32(0.5))
        offset = position - centre
        half = np.float32(0.5)
        # Along each axis: weights of the nodes before, at and after the centre, and their derivatives by the node.
        self._weights = np.stack([half * (half - offset) ** 2, 0.75 - offset**2, half * (half + offset) ** 2], axis=1)
        self._slopes = np.stack([half - offset, 2 * offset, -half - offset], axis=1)
        x, y, z = centre.astype(np.int64) - 1
        first = (x * grid.shape[1] + y) * grid.shape[2] + z
        steps = np.asarray(np.ravel_multi_index(tuple(np.indices((_ORDER,) * 3).reshape(3, -1)), grid.shape))
        self.nodes: IntArray = steps[:, None] + first
        """(27, N) flat node indices."""
        self._grid = grid

    @cached_property
    def weights(self) -> FloatArray:
        """(27, N); each column sums to 1."""
        x, y, z = self._weights
        return self._product(x[:, None] * y[None], z)

    def splat(self, values: FloatArray) -> FloatArray:
        """Distributes the values (N,) of the points over the grid nodes: (X, Y, Z)."""
        return self._accumulate(self.weights * values)

    def splat_divergence(self, vectors: FloatArray) -> FloatArray:
        """The divergence (X, Y, Z), per voxel, of the field to which each point adds its vector (N, 3)."""
        x, y, z = self._weights
        slope_x, slope_y, slope_z = self._slopes
        along_x, along_y, along_z = np.ascontiguousarray(vectors.T)
        across = (along_x * slope_x)[:, None] * y[None] + (along_y * x)[:, None] * slope_y[None]
        along = (along_z * x)[:, None] * y[None]
        return self._accumulate(self._product(across, z) + self._product(along, slope_z))

    def sample(self, field: FloatArray) -> FloatArray:
        """Interpolates the field (X, Y, Z) at the points: (N,)."""
        values: FloatArray = (field.ravel()[self.nodes] * self.weights).sum(axis=0)
        return values

    def _accumulate(self, values: FloatArray) -> FloatArray:
        sums = np.bincount(self.nodes.ravel(), weights=values.ravel(), minlength=self._grid.size)
        return np.asarray(sums, np.float32).reshape(self._grid.shape)

    @staticmethod
    def _product(plane: FloatArray, line: FloatArray) -> FloatArray:
        """(3, 3, N) × (3, N) → (27, N)."""
        values: FloatArray = plane[:, :, None] * line
        return values.reshape(_ORDER**3, -1)


def _angular_frequencies(shape: tuple[int, ...]) -> list[FloatArray]:
    """Angular frequencies along each axis of the half spectrum, radians per voxel, shaped for broadcasting."""
    axes = (scipy.fft.fftfreq(shape[0]), scipy.fft.fftfreq(shape[1]), scipy.fft.rfftfreq(shape[2]))
    return [np.asarray(2.0 * np.pi * k, dtype=np.float32) for k in np.ix_(*axes)]


def solve_indicator(divergence: FloatArray) -> FloatArray:
    """The function χ, high inside, whose gradient is closest to the negated field of outward normals.

    Args:
        divergence: (X, Y, Z) of the field of outward normals, per voxel.

    Returns:
        (X, Y, Z) float32 of zero mean, in arbitrary units; only its level sets are meaningful.
    """
    spectrum = scipy.fft.rfftn(divergence)
    k = _angular_frequencies(divergence.shape)
    k_squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    k_squared[0, 0, 0] = 1.0  # avoids 0/0; the divergence has zero mean, and so has χ
    spectrum /= k_squared
    spectrum[0, 0, 0] = 0.0
    indicator: FloatArray = scipy.fft.irfftn(spectrum, s=divergence.shape)
    return indicator.astype(np.float32, copy=False)


def relative_to_isovalue(indicator: FloatArray, stencil: Stencil, areas: FloatArray) -> FloatArray:
    """The indicator less its local isovalue: positive inside, zero at the points as far as possible.

    The indicator of a part that is thinner than a few voxels, such as a finger, never reaches the mean isovalue of the
    whole body; that of a narrow gap, such as an armpit, never falls to it. So the isovalue follows the indicator's
    value at the points nearby. Kazhdan and Hoppe, Screened Poisson Surface Reconstruction (2013), have the same aim,
    but need a system of equations that Fourier space does not diagonalise.

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
