"""Lays the live picture of a face over the meshes that browsers draw, in the light of their textures.

Shapes: V vertices of a mesh, N with copies on seams, L landmarks, S texels along a side of the chart.
"""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

from common.arrays import ByteArray, Float64Array, FloatArray, Image, IntArray
from common.frames import NEAR_M, PersonLabels
from common.texture.face_picture import FaceChart, laid_over
from receiver.mesh.mesh_texture import TextureCorners

SHOWN_S: Final = 1.5
"""A picture is shown for so long, if no other one comes."""
# A mesh has its vertices where the template has some; others lie between so many of these.
_NEAREST, _SAME = 3, 1e-5
# The light is compared in squares of the chart, over about so many of them, and differs by at most this factor.
_SQUARES, _SPREAD_SQUARES, _MOST = 16, 2.0, 1.8
_SKIN_OPACITY, _LITTLE = 0.5, 0.05
# What is farther off is another face, or read wrongly.
_MOST_OFF_M: Final = 0.05
# Entries of the group `eyes` (`common.body.faces`).
_GAZE: Final = slice(1, 3)


class FaceLaying:
    """Of one topology: where a live face lies on its meshes, and how it moves their vertices.

    What is seen from the camera is where the picture had it: the vertices of the face are moved across the line of
    sight by what separates the picture's landmarks, laid over the mesh by a similarity, from their places on it.

    Attributes:
        places: (N, 6) as of `face_places`.
    """

    def __init__(self, corners: TextureCorners, template: TextureCorners) -> None:
        self.places = face_places(corners, template)
        own = self.places[: int(corners.vertex.max()) + 1]
        landmarks = FaceChart.load().landmarks.astype(np.float64)
        skin = np.flatnonzero(own[:, 2] > _SKIN_OPACITY)
        self._reads = _nearest(own[skin, :2], landmarks, skin, len(own)) if len(skin) >= _NEAREST else None
        moved = np.flatnonzero(own[:, 5] > 0)
        self._moves = _between(landmarks, own[moved], moved, len(own))

    def residual(self, vertices: FloatArray, landmarks: FloatArray) -> FloatArray | None:
        """(L, 2) metres across the line of sight by which landmarks (L, 2) are off a mesh (V, 3), camera space.

        None of a mesh without a face, or whose face is behind the camera.
        """
        if self._reads is None:
            return None
        points = self._reads @ vertices
        if points[:, 2].min() < NEAR_M:
            return None
        seen = points[:, :2] / points[:, 2:]
        off = laid_over(landmarks, seen) - seen
        residual = np.asarray(off * points[:, 2:], np.float32)
        return residual if np.abs(residual).max() < _MOST_OFF_M else None

    def moved(self, vertices: FloatArray, residual: FloatArray) -> FloatArray:
        """(V, 3) vertices with the face where the picture had it."""
        result = vertices.copy()
        result[:, :2] += self._moves @ residual
        return result


def _nearest(at: FloatArray, wanted: Float64Array, rows: IntArray, count: int) -> sparse.csr_array:
    """(L, `count`) shares of vertices at (n, 2), whose numbers are `rows`, in what lies at (L, 2)."""
    away, nearest = cKDTree(at).query(wanted, k=_NEAREST)
    shares = 1 / np.maximum(away, _SAME)
    shares /= shares.sum(axis=1, keepdims=True)
    numbers = np.repeat(np.arange(len(wanted)), _NEAREST), rows[nearest].ravel()
    return sparse.coo_array((shares.ravel().astype(np.float32), numbers), (len(wanted), count)).tocsr()


def _between(landmarks: Float64Array, places: FloatArray, rows: IntArray, count: int) -> sparse.csr_array:
    """(`count`, L) by which vertices with places (n, 6) follow the landmarks around them."""
    triangles = Delaunay(landmarks)
    found = triangles.find_simplex(places[:, 3:5])
    turn = triangles.transform[found]
    two = np.einsum("vij,vj->vi", turn[:, :2], places[:, 3:5] - turn[:, 2])
    shares = np.column_stack([two, 1 - two.sum(axis=1)]) * (places[:, 5:] * (found >= 0)[:, None])
    numbers = np.repeat(rows, 3), triangles.simplices[found].ravel()
    values = np.nan_to_num(shares).ravel().astype(np.float32)
    return sparse.coo_array((values, numbers), (count, len(landmarks))).tocsr()


def face_places(corners: TextureCorners, template: TextureCorners) -> FloatArray:
    """(N, 6) `places`, `opacity`, `followed` and `follows` of each vertex of a mesh, by where it is in the texture.

    Args:
        template: of the template, whose vertices have places in the chart.
    """
    chart = FaceChart.load()
    known = np.zeros((max(int(template.vertex.max()), int(chart.vertices.max())) + 1, 6), np.float32)
    columns = chart.places, chart.opacity, chart.followed, chart.follows
    known[chart.vertices] = np.column_stack(columns)
    places = known[template.vertex]
    away, nearest = cKDTree(template.coordinates).query(corners.coordinates, k=_NEAREST)
    weights = 1 / np.maximum(away, _SAME) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    mean = (weights[..., None] * places[nearest]).sum(axis=1)
    # What has no place says nothing of it.
    weights = weights * (places[nearest, 5] > 0)
    shares = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    at = (weights[..., None] * places[nearest]).sum(axis=1) / shares
    return np.column_stack([at[:, :2], mean[:, 2], at[:, 3:5], mean[:, 5]]).astype(np.float32)


def in_light_of(picture: Image, places: FloatArray, colours: ByteArray) -> Image:
    """The picture (S, S, 3) as bright, over some centimetres, as the texture around it: the page has lamps of its own.

    Args:
        places: (N, 6) of vertices, as of `face_places`.
        colours: (N, 3) RGB of the texture at these.
    """
    skin = places[:, 2] > _SKIN_OPACITY
    texels = np.minimum((places[skin, :2] * picture.shape[0]).astype(np.int64), picture.shape[0] - 1)
    seen = picture[texels[:, 1], texels[:, 0]].astype(np.float32)
    squares = np.minimum((places[skin, :2] * _SQUARES).astype(np.int64), _SQUARES - 1) @ (1, _SQUARES)
    counted = np.column_stack([seen, colours[skin].astype(np.float32), np.ones(len(seen), np.float32)])
    sums = np.stack([np.bincount(squares, column, _SQUARES**2) for column in counted.T], axis=-1)
    grid = cv2.GaussianBlur(sums.reshape(_SQUARES, _SQUARES, -1).astype(np.float32), (0, 0), _SPREAD_SQUARES)
    means = grid[..., :6] / (grid[..., 6:] + _LITTLE)
    gain = np.clip((means[..., 3:] + 1) / (means[..., :3] + 1), 1 / _MOST, _MOST)
    gain = cv2.resize(gain, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.rint(np.clip(picture * gain, 0, 255)), np.uint8)


def with_still_eyes(person: PersonLabels) -> PersonLabels:
    """Labels without gaze: the picture has it, and eyeballs that turn would carry it away."""
    eyes = person.labels.get("eyes")
    if eyes is None:
        return person
    still = eyes.copy()
    still[_GAZE] = 0
    return replace(person, labels={**person.labels, "eyes": still})
