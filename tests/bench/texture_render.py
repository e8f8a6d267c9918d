"""Renders textured meshes without light, pixel by pixel, for the texture bench and for people who look at it."""

import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array
from common.frames import Camera
from common.texture.atlas import sample
from receiver.mesh.mesh_texture import TextureCorners

_SUBPIXEL_BITS = 4
_BACKGROUND = 255


def covering_triangles(vertices: FloatArray, faces: Int32Array, camera: Camera) -> Int32Array:
    """(H, W) index of the triangle that each pixel shows, −1 where there is none: painter's algorithm."""
    pixels = camera.project(vertices)
    corners = pixels[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    facing = np.flatnonzero(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0)
    order = facing[np.argsort(-vertices[faces[facing], 2].mean(axis=1))]
    fixed_point = np.rint((corners - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    drawn = np.full((camera.height, camera.width), -1, np.float32)
    for face in order.tolist():
        cv2.fillConvexPoly(drawn, fixed_point[face], float(face), cv2.LINE_8, _SUBPIXEL_BITS)
    return drawn.astype(np.int32)


def render_textured(
    vertices: FloatArray, faces: Int32Array, corners: TextureCorners, atlas: ByteArray, camera: Camera
) -> ByteArray:
    """(H, W, 3) RGB of a mesh in camera space with a texture, before white, without light."""
    triangle = covering_triangles(vertices, faces, camera)
    rows, columns = np.nonzero(triangle >= 0)
    shown = triangle[rows, columns]
    a, b, c = camera.project(vertices)[faces[shown]].transpose(1, 0, 2)
    at = np.column_stack([columns, rows]) + 0.5
    area = _cross(b - a, c - a)
    u, v = _cross(b - at, c - at) / area, _cross(c - at, a - at) / area
    weights = np.clip(np.column_stack([u, v, 1 - u - v]), 0, 1)
    weights /= weights.sum(axis=1, keepdims=True)
    coordinates = np.einsum("nc,ncd->nd", weights, corners.coordinates[corners.faces[shown]])
    image = np.full((camera.height, camera.width, 3), _BACKGROUND, np.uint8)
    image[rows, columns] = np.rint(sample(atlas, coordinates.astype(np.float32)))
    return image


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
