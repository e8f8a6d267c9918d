"""Oriented points on shapes with exactly known surfaces."""

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray, Int32Array
from receiver.config import SurfaceConfig
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import DetailedPlaces, reconstruct

NOWHERE = DetailedPlaces(*(np.array(each, np.float32) for each in ([[0, 0, -1e3]], [0.1], [0.1])))
"""No detail."""
_RESOLUTION = SurfaceConfig().grid_resolution
_NO_FACES: Int32Array = np.zeros((0, 3), np.int32)
OrientedPoints = tuple[FloatArray, FloatArray]


def sphere(count: int = 2048, radius_m: float = 0.5) -> OrientedPoints:
    """Evenly distributed points (a Fibonacci lattice) on a sphere 3 m in front of the camera."""
    index = np.arange(count) + 0.5
    polar, around = np.arccos(1.0 - 2.0 * index / count), np.pi * (1.0 + 5.0**0.5) * index
    normals = np.stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=1)
    return (normals * radius_m + [0.0, 0.0, 3.0]).astype(np.float32), normals.astype(np.float32)


def torus(count: int = 4096, ring_m: float = 0.6, tube_m: float = 0.2, seed: int = 1) -> OrientedPoints:
    """Random points, uniform by area, on a torus around the y axis."""
    rng = np.random.default_rng(seed)
    around = rng.uniform(0.0, 2.0 * np.pi, 4 * count)
    tube = rng.uniform(0.0, 2.0 * np.pi, 4 * count)
    kept = rng.uniform(0.0, ring_m + tube_m, 4 * count) < ring_m + tube_m * np.cos(tube)
    around, tube = around[kept][:count], tube[kept][:count]
    normals = np.stack([np.cos(tube) * np.cos(around), np.sin(tube), np.cos(tube) * np.sin(around)], axis=1)
    ring = np.stack([np.cos(around), np.zeros_like(around), np.sin(around)], axis=1) * ring_m
    return (ring + normals * tube_m).astype(np.float32), normals.astype(np.float32)


def solved(
    points: FloatArray,
    normals: FloatArray,
    areas: FloatArray | None = None,
    *,
    faces: Int32Array = _NO_FACES,
    colours: ByteArray | None = None,
    places: DetailedPlaces = NOWHERE,
    resolution: int = _RESOLUTION,
) -> SurfaceMesh:
    """The surface through points; unknown areas are those of the discs to the eighth neighbours."""
    if areas is None:
        distance, _ = cKDTree(points).query(points, k=[9])
        areas = (np.pi * np.square(distance[:, 0]) / 8.5).clip(1e-10).astype(np.float32)
    return reconstruct(SurfaceMesh(points, faces, colours), normals, areas, places, resolution)
