"""Visibility of the body's surface points, and the cosine of the angle at which the camera sees them."""

import cv2
import numpy as np

from common.arrays import FloatArray, IntArray
from common.frames import Camera

# Nearer points are ignored.
_MIN_DEPTH_M = 0.1
# At a smaller cosine, the pixel at a point shows its neighbours, too.
_MIN_COSINE = 0.25
# Cell of the depth map: about the distance between points, so that points splatted on 3 × 3 cells leave no hole.
_CELL_M = 0.025
# A point is hidden by others that are nearer by more than this, plus what an oblique surface spans in a cell.
_MARGIN_M = 0.03
_MARGIN_CELLS = 1.5
_MAX_CELLS = 512


def view_cosine(points: FloatArray, normals: FloatArray, camera: Camera) -> FloatArray:
    """(N,) cosine between each point's normal and the direction to the camera; 0 for points that are not visible.

    A point is not visible if it faces away, is outside the image or behind the camera, or is hidden by other points.

    Args:
        points: (N, 3) of a closed surface, camera space, metres.
        normals: (N, 3) outward unit normals.
    """
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    cosine = -np.einsum("nd,nd->n", points, normals) / distance
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1) & (points[:, 2] > _MIN_DEPTH_M)
    # Points that face away need not occlude: on a closed surface, nearer points that face the camera do so already.
    occluders = np.flatnonzero((cosine > 0) & (points[:, 2] > _MIN_DEPTH_M))
    candidates = np.flatnonzero(inside & (cosine > _MIN_COSINE))
    if not len(candidates):
        return np.zeros(len(points), np.float32)
    nearest = _nearest_depth(points, pixels, occluders, candidates, camera)
    slope = np.sqrt(1 - np.minimum(cosine[candidates], 1) ** 2) / cosine[candidates]
    visible = candidates[points[candidates, 2] < nearest + _MARGIN_M + _MARGIN_CELLS * _CELL_M * slope]
    result = np.zeros(len(points), np.float32)
    result[visible] = cosine[visible]
    return result


def _nearest_depth(
    points: FloatArray,
    pixels: FloatArray,
    occluders: IntArray,
    candidates: IntArray,
    camera: Camera,
) -> FloatArray:
    """(len(candidates),) depth of the nearest occluder in the 3 × 3 cells around each candidate, metres."""
    cell_px = _CELL_M * camera.focal_px / float(np.median(points[candidates, 2]))
    corner = pixels[candidates].min(axis=0) - cell_px
    extent = pixels[candidates].max(axis=0) + cell_px - corner
    cell_px = max(cell_px, float(extent.max()) / _MAX_CELLS)
    columns, rows = (int(np.ceil(side / cell_px)) + 1 for side in extent)
    cells = np.floor((pixels - corner) / cell_px)
    occluders = occluders[((cells[occluders] >= 0) & (cells[occluders] < [columns, rows])).all(axis=1)]
    depth_map = np.full((rows, columns), np.inf, np.float32)
    x, y = cells[occluders].astype(np.int64).T
    np.minimum.at(depth_map, (y, x), points[occluders, 2])
    depth_map = np.asarray(cv2.erode(depth_map, np.ones((3, 3), np.uint8)), np.float32)
    x, y = cells[candidates].astype(np.int64).T
    return np.asarray(depth_map[y, x], np.float32)
