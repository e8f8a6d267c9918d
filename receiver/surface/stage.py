"""The surface stage: oriented points → one watertight mesh, in metres.

Splat normals on a grid → spectral Poisson solve → marching cubes (28) → largest connected component → Taubin smoothing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray
from common.io.configuration import option
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.extract import largest_component, march, taubin_smooth
from receiver.surface.spectral_poisson import Corners, Grid, fit_grid, locate, sample, solve_indicator, splat

MINIMUM_POINTS = 16


@dataclass(frozen=True, slots=True)
class SurfaceConfig:
    """Settings of the surface reconstruction.

    Args:
        grid_resolution: grid nodes along the person's longest side, including padding.
        grid_padding: empty grid nodes on every side.
        normal_sigma_voxels: standard deviation of the Gaussian that smooths the normals; larger values suppress noise
            and merge fingers.
        taubin_iterations: pairs of smoothing steps; 0 disables smoothing.
        fft_workers: threads of the FFT.
    """

    grid_resolution: int = option(96, help="grid nodes along the person's longest side")
    grid_padding: int = option(6, help="empty grid nodes on every side")
    normal_sigma_voxels: float = option(
        0.7, help="standard deviation of the Gaussian that smooths the normals, in voxels"
    )
    taubin_iterations: int = option(5, help="pairs of smoothing steps on the mesh")
    fft_workers: int = option(1, help="threads of the Poisson solver's FFT")

    def __post_init__(self) -> None:
        if not 24 <= self.grid_resolution <= 512:
            raise ValueError(f"grid-resolution must lie in 24…512, got {self.grid_resolution}")
        if not 2 <= self.grid_padding <= (self.grid_resolution - 16) // 2:
            largest = (self.grid_resolution - 16) // 2
            raise ValueError(f"grid-padding must lie in 2…{largest}, got {self.grid_padding}")
        if not 0.0 <= self.normal_sigma_voxels <= 8.0:
            raise ValueError(f"normal-sigma-voxels must lie in 0…8, got {self.normal_sigma_voxels}")
        if not 0 <= self.taubin_iterations <= 100:
            raise ValueError(f"taubin-iterations must lie in 0…100, got {self.taubin_iterations}")
        if self.fft_workers < 1:
            raise ValueError(f"fft-workers must be at least 1, got {self.fft_workers}")


class SurfaceStage:
    """Reconstructs meshes from oriented points."""

    def __init__(self, config: SurfaceConfig | None = None) -> None:
        self.config = config or SurfaceConfig()

    def reconstruct(
        self, points: FloatArray, normals: FloatArray, areas: FloatArray | None = None, colours: ByteArray | None = None
    ) -> SurfaceMesh:
        """Reconstructs one watertight connected surface through the points.

        Args:
            points: (N, 3), metres.
            normals: (N, 3), outward, of any length.
            areas: (N,) relative surface area per point; None for evenly distributed points.
            colours: (N, 3) uint8 RGB of the points; a vertex takes that of the nearest point.

        Raises:
            ValueError: fewer than 16 points, mismatched shapes, non-finite values, coincident points, or points that
                enclose no volume.
        """
        _check(points, normals, areas, colours)
        grid = fit_grid(points, self.config.grid_resolution, self.config.grid_padding)
        corners = locate(points, grid)
        weights = np.ones(len(points), np.float32) if areas is None else areas.astype(np.float32)
        indicator = self._indicator(grid, corners, normals, weights)
        # The surface should pass through the points, so the isovalue is the mean indicator at the points.
        level = float(np.average(sample(corners, indicator), weights=weights))
        vertices_voxels, faces = march(indicator, level)
        vertices_voxels, faces, dropped_share = largest_component(vertices_voxels, faces)
        vertices_voxels = taubin_smooth(vertices_voxels, faces, self.config.taubin_iterations)
        vertices = grid.origin + np.float32(grid.voxel_m) * vertices_voxels
        return SurfaceMesh(vertices, faces, _nearest_colours(vertices, points, colours), dropped_share)

    def _indicator(self, grid: Grid, corners: Corners, normals: FloatArray, weights: FloatArray) -> FloatArray:
        """The indicator function χ (X, Y, Z), from unit normals scaled by area."""
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        scaled = normals / np.maximum(lengths, 1e-12) * weights[:, None]
        return solve_indicator(splat(corners, scaled, grid), self.config.normal_sigma_voxels, self.config.fft_workers)


def _nearest_colours(vertices: FloatArray, points: FloatArray, colours: ByteArray | None) -> ByteArray | None:
    """(V, 3) colours of the points nearest to the vertices."""
    if colours is None:
        return None
    _, nearest = cKDTree(points).query(vertices)
    return np.ascontiguousarray(colours[nearest], dtype=np.uint8)


def _check(points: FloatArray, normals: FloatArray, areas: FloatArray | None, colours: ByteArray | None) -> None:
    """Raises ValueError if no surface can be reconstructed from the input."""
    if points.ndim != 2 or points.shape[1] != 3 or normals.shape != points.shape:
        raise ValueError(f"expected points and normals of shape (N, 3), got {points.shape} and {normals.shape}")
    if len(points) < MINIMUM_POINTS:
        raise ValueError(f"a surface needs at least {MINIMUM_POINTS} points, got {len(points)}")
    if not (np.isfinite(points).all() and np.isfinite(normals).all()):
        raise ValueError("points or normals are not finite")
    if areas is not None and (areas.shape != (len(points),) or not np.isfinite(areas).all() or areas.min() < 0.0):
        raise ValueError(f"areas must be {len(points)} finite non-negative numbers")
    if areas is not None and areas.sum() <= 0.0:
        raise ValueError("all areas are zero")
    if colours is not None and colours.shape != points.shape:
        raise ValueError(f"expected colours of shape {points.shape}, got {colours.shape}")
