"""Oriented points to an indicator function, by a Poisson equation solved in Fourier space.

Kazhdan et al., Poisson Surface Reconstruction (2006), in the spectral form of Peng et al., Shape as Points (2021):
the gradient of the indicator function is the field of inward normals, so its Laplacian is that field's divergence,
and on a periodic grid both are multiplications in Fourier space.

Shapes: N points, grid of X × Y × Z cells.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft

from common.arrays import FloatArray, IntArray


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


@dataclass(frozen=True, slots=True)
class Corners:
    """Where the N points lie in the grid: the eight nodes around each, and their trilinear weights.

    Args:
        nodes: (N, 8) flat node indices.
        weights: (N, 8), each row adds up to 1.
    """

    nodes: IntArray
    weights: FloatArray


def fit_grid(points: FloatArray, resolution: int, padding: int) -> Grid:
    """The smallest FFT-friendly grid around the points, `resolution` nodes along their longest side.

    Args:
        points: (N, 3), metres.
        resolution: nodes along the longest side, padding included.
        padding: free nodes on every side, so that the periodic copies stay apart.

    Raises:
        ValueError: the points have no extent.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    if float(extent.max()) <= 0.0:
        raise ValueError("all points lie in one place: no surface passes through them")
    voxel_m = float(extent.max()) / (resolution - 2 * padding - 1)
    nodes = np.ceil(extent / voxel_m - 1e-4).astype(int) + 1 + 2 * padding
    shape = tuple(scipy.fft.next_fast_len(int(count), real=True) for count in nodes)
    origin = (low + high) / 2.0 - 0.5 * voxel_m * (np.array(shape) - 1)
    return Grid(origin.astype(np.float32), voxel_m, (shape[0], shape[1], shape[2]))


def locate(points: FloatArray, grid: Grid) -> Corners:
    """The eight grid nodes around each of the (N, 3) points, with trilinear weights; all must lie inside the grid."""
    position = (points - grid.origin) / np.float32(grid.voxel_m)
    base = np.floor(position).astype(np.int64)
    fraction = (position - base).astype(np.float32)
    nodes, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        index = base + np.array(corner)
        nodes.append((index[:, 0] * grid.shape[1] + index[:, 1]) * grid.shape[2] + index[:, 2])
        weights.append(np.where(np.array(corner), fraction, 1.0 - fraction).prod(axis=1))
    return Corners(np.stack(nodes, axis=1), np.stack(weights, axis=1).astype(np.float32))


def splat(corners: Corners, values: FloatArray, grid: Grid) -> FloatArray:
    """Spread the (N, C) values of the points over the grid's nodes: (C, X, Y, Z)."""
    size = int(np.prod(grid.shape))
    nodes = corners.nodes.ravel()
    channels = [
        np.bincount(nodes, weights=(corners.weights * values[:, c : c + 1]).ravel(), minlength=size)
        for c in range(values.shape[1])
    ]
    return np.stack(channels).astype(np.float32).reshape(-1, *grid.shape)


def sample(corners: Corners, field: FloatArray) -> FloatArray:
    """The field (X, Y, Z) at the points, trilinearly: (N,)."""
    values: FloatArray = (field.ravel()[corners.nodes] * corners.weights).sum(axis=1)
    return values


def _angular_frequencies(shape: tuple[int, ...]) -> list[FloatArray]:
    """k along each axis of the half spectrum, radians a voxel, shaped to broadcast against one another."""
    axes = (scipy.fft.fftfreq(shape[0]), scipy.fft.fftfreq(shape[1]), scipy.fft.rfftfreq(shape[2]))
    return [np.asarray(2.0 * np.pi * k, dtype=np.float32) for k in np.ix_(*axes)]


def solve_indicator(field: FloatArray, sigma_voxels: float, workers: int = 1) -> FloatArray:
    """The function χ, high inside, whose gradient comes closest to minus the field of outward normals.

    Args:
        field: (3, X, Y, Z) outward normals splatted on the grid.
        sigma_voxels: width of the Gaussian that smooths the field.
        workers: threads of the FFT.

    Returns:
        (X, Y, Z) float32 of zero mean, in arbitrary units: only its level sets count.
    """
    spectrum = scipy.fft.rfftn(field, axes=(1, 2, 3), workers=workers)
    k = _angular_frequencies(field.shape[1:])
    # Damping, as the k² below, is made of one factor per axis: cheaper than a cache of whole grids.
    damped = [np.exp(np.float32(-0.5 * sigma_voxels**2) * k_axis**2) for k_axis in k]
    k_squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    k_squared[0, 0, 0] = 1.0  # the mean is left at zero: the divergence has none
    divergence = k[0] * spectrum[0] + k[1] * spectrum[1] + k[2] * spectrum[2]
    divergence *= np.complex64(1j) / k_squared
    divergence *= damped[0] * damped[1] * damped[2]
    indicator: FloatArray = scipy.fft.irfftn(divergence, s=field.shape[1:], workers=workers)
    return indicator.astype(np.float32, copy=False)
