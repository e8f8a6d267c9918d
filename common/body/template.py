"""The template: the body's skin as one closed connected component, of which both ends know every vertex by its index.

Displacements from skin to clothes, colours and texture coordinates are arrays over its vertices.

Shapes: V' = 13,348 vertices, F' triangles, S = 52 bones.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from common.arrays import BoolArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import MIRROR_SIGNS
from common.body.model import BodyModel, BodyParameters, skin


@dataclass(frozen=True, eq=False)
class BodyTemplate:
    """The largest connected component of the body model: eyeballs, teeth and tongue are separate and left out.

    Args:
        faces: (F', 3) indices into the template's vertices, wound counter-clockwise from outside.
        kept: (V',) indices of the body model's vertices that the template keeps, ascending.
        rest: (V', 3) vertices of the mean body in the rest pose, camera axes, metres.
        weights: (V', 52) skinning weights.
        region: (V',) index into `anatomy.REGIONS`.
        face_index: (F',) the body model's triangles that `faces` are.
        outside: (V',) whether the vertex is on the outer skin; the others line the mouth and the eye sockets.
    """

    faces: Int32Array
    kept: IntArray
    rest: FloatArray
    weights: FloatArray
    region: IntArray
    face_index: IntArray
    outside: BoolArray

    @classmethod
    def of(cls, model: BodyModel) -> Self:
        """The template of a body model."""
        faces, count = model.faces.cpu().numpy(), len(model.vertex_region)
        kept = _largest_component(faces, count)
        renumbered = np.full(count, -1, np.int32)
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        kept_faces = renumbered[faces]
        face_index = np.flatnonzero((kept_faces >= 0).all(axis=1))
        on_skin = np.zeros(count, np.bool_)
        on_skin[model.skin_faces.cpu().numpy()] = True
        return cls(
            faces=kept_faces[face_index],
            kept=kept,
            rest=model.rest_vertices[0].cpu().numpy()[kept],
            weights=model.weights.cpu().numpy()[kept],
            region=model.vertex_region.cpu().numpy()[kept],
            face_index=face_index,
            outside=on_skin[kept],
        )

    def __len__(self) -> int:
        return len(self.kept)

    @cached_property
    def areas(self) -> FloatArray:
        """(V',) area of each vertex on the mean body: a third of its triangles, square metres."""
        double = np.linalg.norm(_cross(self.rest, self.faces), axis=1)
        return np.asarray(np.bincount(self.faces.ravel(), np.repeat(double / 6, 3), len(self)), np.float32)

    @cached_property
    def adjacency(self) -> sparse.csr_matrix:
        """(V', V') 1 where an edge connects two vertices; symmetric."""
        start, end = self.faces.ravel(), self.faces[:, [1, 2, 0]].ravel()
        return sparse.csr_matrix((np.ones(len(start), np.float32), (start, end)), shape=(len(self), len(self)))

    @cached_property
    def mirror(self) -> IntArray:
        """(V',) the vertex on the other side; the mesh is symmetric, and the permutation its own inverse."""
        return np.asarray(cKDTree(self.rest).query(self.rest * np.array(MIRROR_SIGNS, np.float32))[1], np.int64)

    def normals(self, vertices: FloatArray) -> FloatArray:
        """(V', 3) outward unit normals of vertices (V', 3), means over the triangles weighted by area."""
        return _units(self._corner_sums @ _cross(vertices, self.faces))

    def normals_and_areas(self, vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`normals` (V', 3), and the area of each vertex (V',), square metres, of vertices (V', 3)."""
        cross = _cross(vertices, self.faces)
        areas = self._corner_sums @ (np.linalg.norm(cross, axis=1) / 6)
        return _units(self._corner_sums @ cross), np.asarray(areas, np.float32)

    @cached_property
    def _corner_sums(self) -> sparse.csr_matrix:
        """(V', F') 1 where a vertex is a corner of a triangle."""
        triangles = np.repeat(np.arange(len(self.faces)), 3)
        ones = np.ones(len(triangles), np.float32)
        return sparse.csr_matrix((ones, (self.faces.ravel(), triangles)), shape=(len(self), len(self.faces)))

    def rest_vertices(self, model: BodyModel, shape: Tensor) -> Tensor:
        """(B, V', 3) vertices in the rest pose, for shape coefficients (B, 10)."""
        return model.rest(shape)[0][:, self.kept]

    def posed(self, model: BodyModel, parameters: BodyParameters, displacement: Tensor) -> Tensor:
        """(B, V', 3) displaced and posed vertices in camera space, metres.

        Args:
            model: the body model of the template.
            parameters: B bodies.
            displacement: (B, V', 3) in the rest pose, camera axes, metres.
        """
        rest, rest_joints = model.rest(parameters.shape)
        positions, rotations = model.forward_kinematics(parameters)
        kept = torch.from_numpy(self.kept)
        return skin(rest[:, kept] + displacement, rest_joints, positions, rotations, model.weights[kept])


def _largest_component(faces: IntArray, count: int) -> IntArray:
    """Indices of the vertices of the connected component with the most vertices."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edges = sparse.csr_matrix((np.ones(len(start), np.float32), (start, end)), shape=(count, count))
    component = connected_components(edges, directed=False)[1]
    return np.flatnonzero(component == np.argmax(np.bincount(component)))


def _cross(vertices: FloatArray, faces: Int32Array) -> FloatArray:
    """(F', 3) outward normals, twice as long as the area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    u, v = b - a, c - a
    cross = np.empty_like(u)
    # A third of the time of `numpy.cross`.
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        cross[:, x] = u[:, y] * v[:, z] - u[:, z] * v[:, y]
    return np.asarray(cross, np.float32)


def _units(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20), np.float32)
