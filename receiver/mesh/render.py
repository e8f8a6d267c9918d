"""A small software renderer with Lambert shading, for contact sheets and image metrics.

It uses the painter's algorithm over front-facing triangles and needs neither a GPU nor a window.  It renders 20,000
triangles in a few hundredths of a second; intersecting triangles may be wrong by a pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Int32Array, IntArray
from common.body.triangles import triangle_normals
from common.frames import NEAR_M, Camera
from receiver.mesh.triangle_mesh import SurfaceMesh

_SUBPIXEL_BITS = 4
_NEUTRAL_RGB = (190, 178, 170)


@dataclass(frozen=True, slots=True)
class Lighting:
    """Light and background of a rendering.

    Args:
        light: direction towards the light in camera space, of any length.
        ambient: brightness of triangles that face away from the light, 0…1.
        background: RGB.
    """

    light: tuple[float, float, float] = (-0.35, -0.55, -0.75)
    ambient: float = 0.3
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Projection:
    """Projected vertices: pixels (V, 2), depth_m (V,)."""

    pixels: FloatArray
    depth_m: FloatArray


def project(points: FloatArray, camera: Camera) -> Projection:
    """Projects (N, 3) points in camera space; the pixels of points behind the camera are meaningless."""
    return Projection(camera.project(points), points[:, 2].astype(np.float32))


def render(
    mesh: SurfaceMesh, camera: Camera, lighting: Lighting | None = None, onto: ByteArray | None = None
) -> ByteArray:
    """Renders an RGB image (height, width, 3) of the mesh.

    Args:
        mesh: in camera space, metres; drawn in a neutral colour if it has none.
        camera: the image's size and focal length.
        lighting: light and background.
        onto: image to draw over instead of the background; it is not modified.

    Raises:
        ValueError: the sizes of `onto` and the camera differ.
    """
    lighting = lighting or Lighting()
    canvas = np.full((camera.height, camera.width, 3), lighting.background, np.uint8) if onto is None else onto.copy()
    if canvas.shape != (camera.height, camera.width, 3):
        raise ValueError(f"cannot draw {camera.width}×{camera.height} onto an image of shape {canvas.shape}")
    projection = project(mesh.vertices, camera)
    order = _paint_order(mesh, projection)
    _paint(canvas, projection, mesh.faces[order], _shade(mesh, order, lighting).tolist())
    return canvas


def depth_map(mesh: SurfaceMesh, camera: Camera) -> FloatArray:
    """(height, width) camera z of the nearest surface in metres, constant within a triangle; 0 where there is none."""
    canvas = np.zeros((camera.height, camera.width), np.float32)
    projection = project(mesh.vertices, camera)
    faces = mesh.faces[_paint_order(mesh, projection)]
    _paint(canvas, projection, faces, projection.depth_m[faces].mean(axis=1).tolist())
    return canvas


def silhouette(mesh: SurfaceMesh, camera: Camera) -> BoolArray:
    """(height, width) mask of the pixels that the mesh covers."""
    uncoloured = SurfaceMesh(mesh.vertices, mesh.faces)
    return np.asarray(render(uncoloured, camera, Lighting(ambient=1.0, background=(0, 0, 0))).any(axis=2))


def _paint(
    canvas: ByteArray | FloatArray, projection: Projection, faces: Int32Array, values: Sequence[Sequence[float] | float]
) -> None:
    """Fills triangles (K, 3), in this order, each with its own value."""
    # Pixel centres are at integers in OpenCV and at half-integers here.
    corners = np.clip((projection.pixels - 0.5) * (1 << _SUBPIXEL_BITS), -(2**24), 2**24)
    for triangle, value in zip(np.round(corners).astype(np.int32)[faces], values, strict=True):
        cv2.fillConvexPoly(canvas, triangle, value, cv2.LINE_8, _SUBPIXEL_BITS)


def _paint_order(mesh: SurfaceMesh, projection: Projection) -> IntArray:
    """Indices of the triangles that face the camera and are entirely in front of it, farthest first."""
    corners = projection.pixels[mesh.faces]
    edge_a, edge_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # In image coordinates (y down), front faces, counter-clockwise seen from outside, have a negative signed area.
    facing = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0] < 0.0
    depth = projection.depth_m[mesh.faces]
    visible = np.flatnonzero(facing & (depth.min(axis=1) > NEAR_M))
    return visible[np.argsort(-depth[visible].mean(axis=1), kind="stable")]


def _shade(mesh: SurfaceMesh, faces: IntArray, lighting: Lighting) -> Float64Array:
    """(K, 3) RGB 0…255 of the given triangles after Lambert shading."""
    corners: Int32Array = mesh.faces[faces]
    normals = triangle_normals(mesh.vertices, corners)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = np.array(lighting.light) / np.linalg.norm(lighting.light)
    brightness = lighting.ambient + (1.0 - lighting.ambient) * np.clip(normals @ light, 0.0, 1.0)
    colours = np.array([_NEUTRAL_RGB]) if mesh.colours is None else mesh.colours[corners].mean(axis=1)
    return np.asarray(np.round(colours * brightness[:, None]), dtype=np.float64)
