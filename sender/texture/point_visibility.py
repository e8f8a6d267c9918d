"""Which of the body's surface points a camera sees, and how squarely."""

import cv2
import numpy as np

from common.arrays import FloatArray, IntArray
from common.frames import Camera

# What is nearer is not seen, and hides nothing.
_LEAST_DEPTH_M = 0.1
# Seen more obliquely than this, a point's colour is its neighbours'.
_LEAST_COSINE = 0.25
# About as far as the points lie apart: splatted on three by three such cells, they leave no hole.
_CELL_M = 0.025
_MARGIN_M = 0.03
_MOST_CELLS = 512


def view_cosine(points: FloatArray, normals: FloatArray, camera: Camera) -> FloatArray:
    """(N,) cosine between each point's normal and the way to the camera; 0 where it is not seen.

    A point is not seen if it looks away, lies outside the picture or behind the camera, or behind other points.

    Args:
        points: (N, 3) of a closed surface, camera space, metres.
        normals: (N, 3) outward unit normals.
        camera: its picture's size counts.
    """
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    cosine = -np.einsum("nd,nd->n", points, normals) / distance
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1) & (points[:, 2] > _LEAST_DEPTH_M)
    # Who looks away hides nothing that the near side of the body does not hide already.
    hiding = np.flatnonzero((cosine > 0) & (points[:, 2] > _LEAST_DEPTH_M))
    seen = np.flatnonzero(inside & (cosine > _LEAST_COSINE))
    if not len(seen):
        return np.zeros(len(points), np.float32)
    nearest = _nearest_depth(points, pixels, hiding, seen, camera)
    # What is seen obliquely falls off within the cells that it is compared with.
    slope = np.sqrt(1 - np.minimum(cosine[seen], 1) ** 2) / cosine[seen]
    free = points[seen, 2] < nearest + _MARGIN_M + 1.5 * _CELL_M * slope
    result = np.zeros(len(points), np.float32)
    result[seen[free]] = cosine[seen[free]]
    return result


def _nearest_depth(
    points: FloatArray,
    pixels: FloatArray,
    hiding: IntArray,
    seen: IntArray,
    camera: Camera,
) -> FloatArray:
    """(len(seen),) depth of the nearest of the `hiding` points in the cells around each of the `seen`, metres."""
    cell_px = _CELL_M * camera.focal_px / float(np.median(points[seen, 2]))
    corner = pixels[seen].min(axis=0) - cell_px
    extent = pixels[seen].max(axis=0) + cell_px - corner
    cell_px = max(cell_px, float(extent.max()) / _MOST_CELLS)
    columns, rows = (int(np.ceil(side / cell_px)) + 1 for side in extent)
    cells = np.floor((pixels - corner) / cell_px)
    hiding = hiding[((cells[hiding] >= 0) & (cells[hiding] < [columns, rows])).all(axis=1)]
    grid = np.full((rows, columns), np.inf, np.float32)
    x, y = cells[hiding].astype(np.int64).T
    np.minimum.at(grid, (y, x), points[hiding, 2])
    grid = np.asarray(cv2.erode(grid, np.ones((3, 3), np.uint8)), np.float32)
    x, y = cells[seen].astype(np.int64).T
    return np.asarray(grid[y, x], np.float32)
