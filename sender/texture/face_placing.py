"""Lays the head of a posed body where the landmarks of the face are in the picture.

The pose of a head is estimated to some degrees and centimetres, and its features are those of a mean face: what is
projected by it alone has eyes beside the eyes.  Each landmark has a place on the head.  A similarity lays the head over
the landmarks, the triangles between their places carry what is left, and the eyeballs are moved to the irises.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import LID_LOOPS, REGION_INDEX
from common.body.model import BodyModel
from common.body.triangles import VertexNormals
from common.frames import NEAR_M, Camera
from sender.face.actions import FaceActions
from sender.face.landmarks import INNER_CORNER, TEMPLATE_AT_M, FaceLandmarks, face_px
from sender.perception.crop import similarity

# Below the chin, at this height of the body at rest, the head passes into the body that the labels pose.
_CHIN_M, _NECK_M = -0.615, 0.06
# Beyond the outermost landmarks, what the similarity leaves fades within so much of the atlas, of 0…1.
_FADES = 0.02
# Size of a face from which the colours of its eyes are known: an iris then has 5 pixels.
_LEAST_PX = 60.0
# Cosine between the normal of a face and the direction to the camera, below which a pixel is smeared over it.
_LEAST_COSINE = 0.45
# Places on each triangle on which the landmarks' are looked for: steps along its sides.
_STEPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class FacePlacing:
    """Of the body's head, with H vertices.

    Args:
        vertices: (H,) indices of them.
        shares: (H, 1) how far each belongs to the head, 1, or to the neck, 0.
        rest: (H, 3) at rest, in the frame of the template, metres.
        normals: (H, 3) of the vertices, likewise.
        among: indices of the vertices among the landmarks.
        template: (468, 3) places of the landmarks on the head.
        weights: (468,) of the landmarks for the similarity; their sum is 1.
        between: (H, 468) by which the vertices follow the landmarks.
        eyes: of the left and the right eye, the vertices of its ball, as indices into `vertices`.
        pupils: (2, 3) middles of the pupils at rest.
    """

    vertices: IntArray
    shares: FloatArray
    rest: FloatArray
    normals: FloatArray
    among: IntArray
    template: FloatArray
    weights: Float64Array
    between: sparse.csr_array
    eyes: tuple[IntArray, IntArray]
    pupils: FloatArray

    @classmethod
    def on_body(cls, body: BodyModel, template: FloatArray, weights: FloatArray) -> Self:
        """For the body, and the template and weights of `FaceActions`."""
        rest = body.rest_vertices[0].numpy() - np.array(TEMPLATE_AT_M, np.float32)
        faces, at = body.faces.numpy(), body.texture_coordinates.numpy()
        below = (body.rest_vertices[0, :, 1].numpy() - _CHIN_M) / _NECK_M
        head = np.flatnonzero(below < 1)
        coordinates = np.zeros((len(rest), 2), np.float32)
        coordinates[faces.ravel()] = at.reshape(-1, 2)
        skin = _of_face(body)
        places = _places(rest, faces[skin], at[skin], template)
        loops = body.eyes.numpy()
        number = np.full(len(rest), -1)
        number[head] = np.arange(len(head))
        balls = tuple(number[np.unique(loops[eye, LID_LOOPS:])] for eye in range(2))
        between = _between(places, coordinates[head])
        return cls(
            head,
            np.clip(1 - below[head], 0, 1)[:, None].astype(np.float32),
            rest[head],
            VertexNormals(faces, len(rest))(rest)[head],
            np.flatnonzero(np.abs(between.sum(axis=1) - 1) < 1e-5),
            template,
            (weights / weights.sum()).astype(np.float64),
            between,
            (balls[0], balls[1]),
            np.stack([rest[loop[-1]].mean(axis=0) for loop in loops]),
        )

    def placed(self, vertices: FloatArray, face: FaceLandmarks, camera: Camera) -> FloatArray:
        """Posed vertices (V, 3), camera space, metres, with the head where the landmarks are in the picture."""
        rotation, scale, centre = similarity(self.template, face.points, self.weights)
        turned = (self.rest @ rotation.T).astype(np.float32)
        pixels = scale * turned[:, :2] + centre[:2]
        pixels += self.between @ (face.points[:, :2] - scale * (self.template @ rotation.T)[:, :2] - centre[:2])
        for ball, pupil, iris in zip(self.eyes, self.pupils, face.iris[:, 0], strict=True):
            pixels[ball] = scale * (turned[ball, :2] - (rotation @ pupil)[:2]) + iris
        own = vertices[self.vertices]
        distance_m = max(float(own[:, 2].mean()), NEAR_M)
        depth = distance_m * (1 + (turned[:, 2] - turned[:, 2].mean()) * scale / camera.focal_px)
        placed = vertices.copy()
        placed[self.vertices] = own + self.shares * (camera.rays(pixels) * depth[:, None] - own)
        return placed

    def hidden(
        self, vertices: FloatArray, face: FaceLandmarks | None, camera: Camera, *, is_known: bool = False
    ) -> IntArray:
        """Of placed vertices (V, 3), the indices of those whose colours a picture does not tell.

        These are parts of the face that are turned away, of which the other side tells more; and the eyeballs where
        lids cover them, or where the face is too small, or was not read at all: a receiver then draws plausible eyes.

        Args:
            is_known: whether another picture has told where the colours of the face are; one without landmarks does
                not, and would blur them.
        """
        if face is None:
            chosen = np.concatenate([*self.eyes, self.among]) if is_known else np.concatenate(self.eyes)
            return np.asarray(self.vertices[chosen])
        rotation, _, _ = similarity(self.template, face.points, self.weights)
        turned_away = self.vertices[self.among[self.normals[self.among] @ -rotation[2] < _LEAST_COSINE]]
        return np.concatenate([turned_away, self._hidden_eyes(vertices, face, camera)])

    def _hidden_eyes(self, vertices: FloatArray, face: FaceLandmarks, camera: Camera) -> IntArray:
        if face_px(face.region) < _LEAST_PX:
            return self.vertices[np.concatenate(self.eyes)]
        covered = []
        for ball, lids in zip(self.eyes, face.lids, strict=True):
            own = self.vertices[ball]
            # Both lids run from the outer to the inner corner.
            outline = np.concatenate([lids[: INNER_CORNER + 1], lids[:INNER_CORNER:-1]])
            covered.append(own[~_inside(camera.project(vertices[own]), outline)])
        return np.concatenate(covered)


@lru_cache(maxsize=1)
def load_face_placing(body: BodyModel) -> FacePlacing:
    """Of the body's head, once for all sources and pictures. Raises WeightsError if the face's weights are missing."""
    network = FaceActions.load()
    return FacePlacing.on_body(body, network.template.numpy(), network.weights.numpy())


def _of_face(body: BodyModel) -> IntArray:
    """The triangles of the face's skin: those that are connected with the tip of the nose in the atlas."""
    rest, faces = body.rest_vertices[0].numpy(), body.faces.numpy().astype(np.int64)
    own = np.flatnonzero((body.vertex_region.numpy()[faces] == REGION_INDEX["face"]).any(axis=1))
    # Vertices on seams have several texture coordinates.
    x, y = np.rint(body.texture_coordinates.numpy()[own] * 65535).astype(np.int64).transpose(2, 0, 1)
    _, corner = np.unique((faces[own] << 32) + (x << 16) + y, return_inverse=True)
    corner = corner.reshape(-1, 3)
    links = sparse.coo_array((np.ones(corner.size), (corner.ravel(), np.roll(corner, 1, axis=1).ravel())))
    _, chart = sparse.csgraph.connected_components(links)
    tip = rest[faces[own], 2].mean(axis=1).argmin()
    return np.asarray(own[chart[corner[:, 0]] == chart[corner[tip, 0]]])


def _places(rest: FloatArray, faces: IntArray, coordinates: FloatArray, template: FloatArray) -> FloatArray:
    """(468, 2) texture coordinates of the places of triangles (F, 3) that are nearest to the template's."""
    grid = [(i, j, _STEPS - i - j) for i in range(_STEPS + 1) for j in range(_STEPS + 1 - i)]
    shares = np.array(grid, np.float32) / _STEPS
    points, at = (np.einsum("kc,fcd->fkd", shares, each) for each in (rest[faces], coordinates))
    _, nearest = cKDTree(points.reshape(-1, 3)).query(template)
    return np.asarray(at.reshape(-1, 2)[nearest], np.float32)


def _between(places: FloatArray, coordinates: FloatArray) -> sparse.csr_array:
    """(H, 468) shares of landmarks, at texture coordinates (468, 2), in what vertices at (H, 2) follow."""
    triangles = Delaunay(places)
    chosen = triangles.find_simplex(coordinates)
    _, nearest = cKDTree(places).query(coordinates)
    away = np.linalg.norm(coordinates - places[nearest], axis=1)
    to_edges = triangles.transform[chosen]
    two = np.einsum("hij,hj->hi", to_edges[:, :2], coordinates - to_edges[:, 2])
    shares = np.column_stack([two, 1 - two.sum(axis=1)])
    corners = triangles.simplices[chosen]
    outside = chosen < 0
    corners[outside] = nearest[outside, None]
    shares[outside] = np.exp(-np.square(away[outside, None] / _FADES)) / 3
    rows = np.repeat(np.arange(len(coordinates)), 3)
    matrix = sparse.coo_array((shares.ravel(), (rows, corners.ravel())), shape=(len(coordinates), len(places)))
    return matrix.tocsr().astype(np.float32)


def _inside(points: FloatArray, outline: FloatArray) -> BoolArray:
    """(N,) whether points (N, 2) are inside of a closed outline (M, 2): a ray crosses it an odd number of times."""
    begin, end = outline, np.roll(outline, -1, axis=0)
    x, y = points.T[..., None]
    crossed = (begin[:, 1] > y) != (end[:, 1] > y)
    slope = (end[:, 0] - begin[:, 0]) / np.where(begin[:, 1] == end[:, 1], 1, end[:, 1] - begin[:, 1])
    return np.asarray((crossed & (x < begin[:, 0] + (y - begin[:, 1]) * slope)).sum(axis=1) % 2 == 1)
