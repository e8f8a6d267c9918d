"""Oriented points on shapes with exactly known surfaces."""

import numpy as np
import trimesh

from common.arrays import FloatArray

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


def capsule(count: int = 2048, height_m: float = 1.4, radius_m: float = 0.2, seed: int = 2) -> OrientedPoints:
    """Points on a capsule of human size."""
    mesh = trimesh.creation.capsule(height=height_m, radius=radius_m, count=[48, 48])
    points, faces = trimesh.sample.sample_surface_even(mesh, count, seed=seed)
    return points.astype(np.float32), mesh.face_normals[faces].astype(np.float32)
