"""A small software renderer: a mesh as the camera saw it, shaded by its normals.

Painter's algorithm over front-facing triangles: no GPU, no window, a few hundredths of a second for 20,000 triangles.
It serves contact sheets and image metrics, not beauty; where triangles cross it is wrong by a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Int32Array, IntArray
from common.frames import NEAR_M, Camera
from receiver.mesh.triangle_mesh import SurfaceMesh, triangle_normals

_SUBPIXEL_BITS = 4
_SKIN = (190, 178, 170)


@dataclass(frozen=True, slots=True)
class Lighting:
    """How a mesh is lit.

    Args:
        light: direction towards the light in camera space; needs no unit length.
        ambient: share of light that reaches a triangle turned away from it, 0…1.
        background: RGB.
    """

    light: tuple[float, float, float] = (-0.35, -0.55, -0.75)
    ambient: float = 0.3
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Projection:
    """Pixel positions and depths of vertices: pixels (V, 2), depth_m (V,)."""

    pixels: FloatArray
    depth_m: FloatArray


def project(points: FloatArray, camera: Camera) -> Projection:
    """(N, 3) points in camera space through the pinhole; points behind the camera get pixels without meaning."""
    return Projection(camera.project(points), points[:, 2].astype(np.float32))


def render(
    mesh: SurfaceMesh, camera: Camera, lighting: Lighting | None = None, onto: ByteArray | None = None
) -> ByteArray:
    """An RGB image (height, width, 3) of the mesh.

    Args:
        mesh: in camera space, metres; its colours are used where it has some.
        camera: the image's size and focal length.
        lighting: light and background.
        onto: draw over this image instead of an empty background; it is not changed.

    Raises:
        ValueError: `onto` has another size than the camera.
    """
    lighting = lighting or Lighting()
    canvas = np.full((camera.height, camera.width, 3), lighting.background, np.uint8) if onto is None else onto.copy()
    if canvas.shape != (camera.height, camera.width, 3):
        raise ValueError(f"cannot draw {camera.width}×{camera.height} onto an image of shape {canvas.shape}")
    projection = project(mesh.vertices, camera)
    order = _front_to_paint(mesh, projection)
    shades = _shade(mesh, order, lighting)
    # OpenCV puts whole numbers at pixel centres; our pixel centres lie at halves.
    corners = np.clip((projection.pixels - 0.5) * (1 << _SUBPIXEL_BITS), -(2**24), 2**24)
    triangles = np.round(corners).astype(np.int32)[mesh.faces[order]]
    for triangle, shade in zip(triangles, shades.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, triangle, shade, cv2.LINE_8, _SUBPIXEL_BITS)
    return canvas


def silhouette(mesh: SurfaceMesh, camera: Camera) -> BoolArray:
    """(height, width) where the mesh covers the image."""
    black = SurfaceMesh(mesh.vertices, mesh.faces)
    return np.asarray(render(black, camera, Lighting(ambient=1.0, background=(0, 0, 0))).any(axis=2))


def _front_to_paint(mesh: SurfaceMesh, projection: Projection) -> IntArray:
    """Triangles that face the camera and lie wholly before it, the farthest first."""
    corners = projection.pixels[mesh.faces]
    edge_a, edge_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # In an image whose y points down, a triangle that is counter-clockwise seen from outside turns this way.
    facing = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0] < 0.0
    depth = projection.depth_m[mesh.faces]
    visible = np.flatnonzero(facing & (depth.min(axis=1) > NEAR_M))
    return visible[np.argsort(-depth[visible].mean(axis=1), kind="stable")]


def _shade(mesh: SurfaceMesh, faces: IntArray, lighting: Lighting) -> Float64Array:
    """(K, 3) Lambert colours of the given triangles."""
    chosen: Int32Array = mesh.faces[faces]
    normals = triangle_normals(mesh.vertices, chosen)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = np.array(lighting.light) / np.linalg.norm(lighting.light)
    brightness = lighting.ambient + (1.0 - lighting.ambient) * np.clip(normals @ light, 0.0, 1.0)
    colours = np.array([_SKIN]) if mesh.colours is None else mesh.colours[chosen].mean(axis=1)
    return np.asarray(np.round(colours * brightness[:, None]), dtype=np.float64)
