"""A small software renderer with Lambert shading, for contact sheets and image metrics.

It uses the painter's algorithm over front-facing triangles and needs neither a GPU nor a window.  It renders 20,000
triangles in a few hundredths of a second; intersecting triangles may be wrong by a pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from common.arrays import ByteArray, Float64Array, FloatArray, Int32Array, IntArray
from common.body.triangles import triangle_normals
from common.frames import NEAR_M, Camera
from receiver.mesh.triangle_mesh import SurfaceMesh

_SUBPIXEL_BITS = 4
_NEUTRAL_RGB = (190, 178, 170)


_LIGHT = np.array([-0.35, -0.55, -0.75])
"""Direction towards the light in camera space."""
_AMBIENT = 0.3
"""Brightness of triangles that face away from the light."""


def render(
    mesh: SurfaceMesh,
    camera: Camera,
    background: tuple[int, int, int] = (255, 255, 255),
    onto: ByteArray | None = None,
) -> ByteArray:
    """Renders an RGB image (height, width, 3) of the mesh.

    Args:
        mesh: in camera space, metres; drawn in a neutral colour if it has none.
        camera: the image's size and focal length.
        onto: image of this size to draw over instead of the background; it is not modified.
    """
    canvas = np.full((camera.height, camera.width, 3), background, np.uint8) if onto is None else onto.copy()
    pixels = camera.project(mesh.vertices)
    order = _paint_order(mesh, pixels)
    _paint(canvas, pixels, mesh.faces[order], _shade(mesh, order).tolist())
    return canvas


def depth_map(mesh: SurfaceMesh, camera: Camera) -> FloatArray:
    """(height, width) camera z of the nearest surface in metres, constant within a triangle; 0 where there is none."""
    canvas = np.zeros((camera.height, camera.width), np.float32)
    pixels = camera.project(mesh.vertices)
    faces = mesh.faces[_paint_order(mesh, pixels)]
    _paint(canvas, pixels, faces, mesh.vertices[faces, 2].mean(axis=1).astype(float).tolist())
    return canvas


def _paint(
    canvas: ByteArray | FloatArray, pixels: FloatArray, faces: Int32Array, values: Sequence[Sequence[float] | float]
) -> None:
    """Fills triangles (K, 3), in this order, each with its own value."""
    # Pixel centres are at integers in OpenCV and at half-integers here.
    corners = np.clip((pixels - 0.5) * (1 << _SUBPIXEL_BITS), -(2**24), 2**24)
    for triangle, value in zip(np.round(corners).astype(np.int32)[faces], values, strict=True):
        cv2.fillConvexPoly(canvas, triangle, value, cv2.LINE_8, _SUBPIXEL_BITS)


def _paint_order(mesh: SurfaceMesh, pixels: FloatArray) -> IntArray:
    """Indices of the triangles that face the camera and are entirely in front of it, farthest first."""
    corners = pixels[mesh.faces]
    edge_a, edge_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # In image coordinates (y down), front faces, counter-clockwise seen from outside, have a negative signed area.
    facing = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0] < 0.0
    depth = mesh.vertices[mesh.faces, 2]
    visible = np.flatnonzero(facing & (depth.min(axis=1) > NEAR_M))
    return visible[np.argsort(-depth[visible].mean(axis=1), kind="stable")]


def _shade(mesh: SurfaceMesh, faces: IntArray) -> Float64Array:
    """(K, 3) RGB 0…255 of the given triangles after Lambert shading."""
    corners: Int32Array = mesh.faces[faces]
    normals = triangle_normals(mesh.vertices, corners)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    brightness = _AMBIENT + (1.0 - _AMBIENT) * np.clip(normals @ light, 0.0, 1.0)
    colours = np.array([_NEUTRAL_RGB]) if mesh.colours is None else mesh.colours[corners].mean(axis=1)
    return np.asarray(np.round(colours * brightness[:, None]), dtype=np.float64)
