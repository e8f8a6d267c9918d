"""Oriented points → indicator function, by solving a Poisson equation in Fourier space.

Kazhdan et al., Poisson Surface Reconstruction (2006), in the spectral form of Peng et al., Shape as Points (2021).
The gradient of the indicator function is the field of inward normals, so its Laplacian is the divergence of that field.
On a periodic grid both operators are multiplications in Fourier space.

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
    """The eight grid nodes around each of N points, with trilinear weights.

    Args:
        nodes: (N, 8) flat node indices.
        weights: (N, 8), each row sums to 1.
    """

    nodes: IntArray
    weights: FloatArray


def fit_grid(points: FloatArray, resolution: int, padding: int) -> Grid:
    """The smallest FFT-friendly grid around the points, `resolution` nodes along their longest side.

    Args:
        points: (N, 3), metres.
        resolution: nodes along the longest side, padding included.
        padding: empty nodes on every side, which separate the periodic copies.

    Raises:
        ValueError: the points have no extent.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    if float(extent.max()) <= 0.0:
        raise ValueError("all points coincide: no surface passes through them")
    voxel_m = float(extent.max()) / (resolution - 2 * padding - 1)
    nodes = np.ceil(extent / voxel_m - 1e-4).astype(int) + 1 + 2 * padding
    shape = tuple(scipy.fft.next_fast_len(int(count), real=True) for count in nodes)
    origin = (low + high) / 2.0 - 0.5 * voxel_m * (np.array(shape) - 1)
    return Grid(origin.astype(np.float32), voxel_m, (shape[0], shape[1], shape[2]))


def locate(points: FloatArray, grid: Grid) -> Corners:
    """Finds the eight nodes around each point (N, 3) and their trilinear weights; all points must lie in the grid."""
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
    """Distributes the values (N, C) of the points over the grid nodes: (C, X, Y, Z)."""
    size = int(np.prod(grid.shape))
    nodes = corners.nodes.ravel()
    channels = [
        np.bincount(nodes, weights=(corners.weights * values[:, c : c + 1]).ravel(), minlength=size)
        for c in range(values.shape[1])
    ]
    return np.stack(channels).astype(np.float32).reshape(-1, *grid.shape)


def sample(corners: Corners, field: FloatArray) -> FloatArray:
    """Interpolates the field (X, Y, Z) trilinearly at the points: (N,)."""
    values: FloatArray = (field.ravel()[corners.nodes] * corners.weights).sum(axis=1)
    return values


def _angular_frequencies(shape: tuple[int, ...]) -> list[FloatArray]:
    """Angular frequencies along each axis of the half spectrum, radians per voxel, shaped for broadcasting."""
    axes = (scipy.fft.fftfreq(shape[0]), scipy.fft.fftfreq(shape[1]), scipy.fft.rfftfreq(shape[2]))
    return [np.asarray(2.0 * np.pi * k, dtype=np.float32) for k in np.ix_(*axes)]


def solve_indicator(field: FloatArray, sigma_voxels: float, workers: int = 1) -> FloatArray:
    """The function χ, high inside, whose gradient is closest to the negated field of outward normals.

    Args:
        field: (3, X, Y, Z) outward normals, splatted on the grid.
        sigma_voxels: standard deviation of the Gaussian that smooths the field.
        workers: threads of the FFT.

    Returns:
        (X, Y, Z) float32 of zero mean, in arbitrary units; only its level sets are meaningful.
    """
    spectrum = scipy.fft.rfftn(field, axes=(1, 2, 3), workers=workers)
    k = _angular_frequencies(field.shape[1:])
    # Damping and k² are separable into one factor per axis, which is cheaper than caching full grids.
    damped = [np.exp(np.float32(-0.5 * sigma_voxels**2) * k_axis**2) for k_axis in k]
    k_squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    k_squared[0, 0, 0] = 1.0  # avoids 0/0; the divergence is zero there, so the mean of χ is zero
    divergence = k[0] * spectrum[0] + k[1] * spectrum[1] + k[2] * spectrum[2]
    divergence *= np.complex64(1j) / k_squared
    divergence *= damped[0] * damped[1] * damped[2]
    indicator: FloatArray = scipy.fft.irfftn(divergence, s=field.shape[1:], workers=workers)
    return indicator.astype(np.float32, copy=False)
