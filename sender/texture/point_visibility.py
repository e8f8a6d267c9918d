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
    x, y, depth = np.ascontiguousarray(points.T)
    # Component by component, which is several times faster than along the short axis.
    across, down, along = np.ascontiguousarray(normals.T)
    distance = np.sqrt(np.maximum(x * x + y * y + depth * depth, 1e-12))
    cosine = -(x * across + y * down + depth * along) / distance
    pixels = np.ascontiguousarray(camera.project(points).T)
    deep = depth > _MIN_DEPTH_M
    inside = (pixels[0] >= 0) & (pixels[1] >= 0) & (pixels[0] < camera.width) & (pixels[1] < camera.height) & deep
    # Points that face away need not occlude: on a closed surface, nearer points that face the camera do so already.
    occluders = np.flatnonzero((cosine > 0) & deep)
    candidates = np.flatnonzero(inside & (cosine > _MIN_COSINE))
    if not len(candidates):
        return np.zeros(len(points), np.float32)
    nearest = _nearest_depth(depth, pixels, occluders, candidates, camera)
    seen = cosine[candidates]
    slope = np.sqrt(1 - np.square(np.minimum(seen, 1))) / seen
    visible = depth[candidates] < nearest + _MARGIN_M + _MARGIN_CELLS * _CELL_M * slope
    result = np.zeros(len(points), np.float32)
    result[candidates] = np.where(visible, seen, 0)
    return result


def _nearest_depth(
    depth: FloatArray,
    pixels: FloatArray,
    occluders: IntArray,
    candidates: IntArray,
    camera: Camera,
) -> FloatArray:
    """(len(candidates),) depth of the nearest occluder in the 3 × 3 cells around each candidate, metres.

    Args:
        depth: (N,) of all points.
        pixels: (2, N).
    """
    cell_px = _CELL_M * camera.focal_px / float(np.median(depth[candidates]))
    corner = pixels[:, candidates].min(axis=1, keepdims=True) - cell_px
    extent = pixels[:, candidates].max(axis=1, keepdims=True) + cell_px - corner
    cell_px = max(cell_px, float(extent.max()) / _MAX_CELLS)
    columns, rows = (int(np.ceil(side / cell_px)) + 1 for side in extent[:, 0])
    # Points far beyond the image would leave the range of integers.
    x, y = np.floor((pixels - corner) / cell_px).clip(-1, _MAX_CELLS + 3).astype(np.int64)
    occluders = occluders[((x >= 0) & (x < columns) & (y >= 0) & (y < rows))[occluders]]
    cell = y * columns + x
    depth_map = np.full(rows * columns, np.inf, np.float32)
    np.minimum.at(depth_map, cell[occluders], depth[occluders])
    depth_map = np.asarray(cv2.erode(depth_map.reshape(rows, columns), np.ones((3, 3), np.uint8)), np.float32)
    return np.asarray(depth_map.ravel()[cell[candidates]])
