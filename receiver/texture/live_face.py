"""Lays the live picture of a face over the meshes that browsers draw, in the light of their textures.

Shapes: N vertices of a mesh with copies on seams, S texels along a side of the chart.
"""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray, Image
from common.frames import PersonLabels
from common.texture.face_picture import FaceChart
from receiver.mesh.mesh_texture import TextureCorners

SHOWN_S: Final = 1.5
"""A picture is shown for so long, if no other one comes."""
# A mesh has its vertices where the template has some; others lie between so many of these.
_NEAREST, _SAME = 3, 1e-5
# The light is compared in squares of the chart, over about so many of them, and differs by at most this factor.
_SQUARES, _SPREAD_SQUARES, _MOST = 16, 2.0, 1.8
_SKIN_OPACITY, _LITTLE = 0.5, 0.05
_QUALITY: Final = 86
# Entries of the group `eyes` (`common.body.faces`).
_GAZE: Final = slice(1, 3)


def face_places(corners: TextureCorners, template: TextureCorners) -> FloatArray:
    """(N, 3) place in the chart, 0…1, and opacity of each vertex of a mesh, by where it is in the texture.

    Args:
        template: of the template, whose vertices have places in the chart.
    """
    chart = FaceChart.load()
    known = np.zeros((max(int(template.vertex.max()), int(chart.vertices.max())) + 1, 3), np.float32)
    known[chart.vertices] = np.column_stack([chart.places, chart.opacity])
    places = known[template.vertex]
    away, nearest = cKDTree(template.coordinates).query(corners.coordinates, k=_NEAREST)
    weights = 1 / np.maximum(away, _SAME) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    opacity = (weights * places[nearest, 2]).sum(axis=1)
    # What has no place says nothing of it.
    weights = weights * (places[nearest, 2] > 0)
    shares = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    at = (weights[..., None] * places[nearest, :2]).sum(axis=1) / shares
    return np.column_stack([at, opacity]).astype(np.float32)


def in_light_of(picture: Image, places: FloatArray, colours: ByteArray) -> Image:
    """The picture (S, S, 3) as bright, over some centimetres, as the texture around it: the page has lamps of its own.

    Args:
        places: (N, 3) of vertices, as of `face_places`.
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


def encode_webp(picture: Image) -> bytes:
    """(S, S, 3) RGB → WebP, some kilobytes."""
    done, content = cv2.imencode(
        ".webp", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    assert done
    return content.tobytes()
