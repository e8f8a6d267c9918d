"""The layout of the texture atlas, from MakeHuman's texture coordinates."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, MIRROR_SIGNS
from common.body.connectivity import largest_component

# Fractional bits of the pixel coordinates that OpenCV fills triangles with.
_SUBPIXEL_BITS = 8
# Largest distance between a reflected texel and its mirror texel; about two texels of the coarsest parts.
_MIRROR_TOLERANCE_M = 0.01


def bake_texture(
    rest_vertices: Float64Array, faces: IntArray, coordinates: FloatArray
) -> dict[str, npt.NDArray[np.generic]]:
    """Which point of the skin each texel of the atlas shows, and which texel shows its mirror point.

    Args:
        rest_vertices: (V, 3) of the mean body at rest, metres.
        faces: (F, 3).
        coordinates: (F, 3, 2) MakeHuman's texture coordinates of the triangles' corners, 0…1, v upwards.

    Returns:
        texture_coordinates: (F, 3, 2) float32 in glTF's axes: v runs downwards.
        texel: (T,) int32, the texels that show skin, as indices into the flat atlas.
        texel_face: (T,) int32, the triangle of each.
        texel_barycentric: (T, 3) float32, its position on the triangle.
        texel_mirror: (T,) int32, position in `texel` of the one that shows the mirror point; −1 if there is none.
    """
    coordinates = np.stack([coordinates[..., 0], 1 - coordinates[..., 1]], axis=-1)
    corners_px = (ATLAS_SIZE * coordinates - 0.5).astype(np.float64)
    on_skin = largest_component(faces, len(rest_vertices))
    face_of_texel = _rasterised(corners_px, np.flatnonzero(on_skin[faces[:, 0]]))
    texel = np.flatnonzero(face_of_texel.ravel() >= 0)
    face = face_of_texel.ravel()[texel]
    centres = np.stack([texel % ATLAS_SIZE, texel // ATLAS_SIZE], axis=1)
    barycentric = _barycentric(centres.astype(np.float64), corners_px[face])
    positions = np.einsum("tc,tcd->td", barycentric, rest_vertices[faces[face]])
    distance, nearest = cKDTree(positions).query(positions * MIRROR_SIGNS)
    return {
        "texture_coordinates": coordinates.astype(np.float32),
        "texel": texel.astype(np.int32),
        "texel_face": face.astype(np.int32),
        "texel_barycentric": barycentric.astype(np.float32),
        "texel_mirror": np.where(distance < _MIRROR_TOLERANCE_M, nearest, -1).astype(np.int32),
    }


def _rasterised(corners_px: Float64Array, faces: IntArray) -> IntArray:
    """(S, S) index of the triangle in each texel, −1 where there is none.

    Texels that a triangle only touches are filled too, so that bilinear sampling at a seam finds skin.
    """
    # float32 is exact for the indices.
    drawn = np.full((ATLAS_SIZE, ATLAS_SIZE), -1, np.float32)
    fixed_point = np.round(corners_px * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for face in faces.tolist():
        cv2.fillConvexPoly(drawn, fixed_point[face], float(face), cv2.LINE_8, _SUBPIXEL_BITS)
    return drawn.astype(np.int64)


def _barycentric(points: Float64Array, corners: Float64Array) -> Float64Array:
    """(N, 3) coordinates of (N, 2) points in triangles (N, 3, 2); points outside are moved to the border."""
    a, b, c = (corners[:, k] for k in range(3))
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    weights = np.stack([_cross(b - points, c - points), _cross(c - points, a - points)], axis=1) / area[:, None]
    clipped = np.clip(np.column_stack([weights, 1 - weights.sum(axis=1)]), 0, 1)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def _cross(a: Float64Array, b: Float64Array) -> Float64Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
