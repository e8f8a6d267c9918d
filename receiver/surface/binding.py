"""A closed mesh that follows the template: solved once, with arms and legs apart, and carried into every pose.

Each vertex has a place on the template, barycentric in its nearest triangle, and an offset from it.  The place moves
with the template, shape and clothes included; the offset turns with the bones.  Triangles, and the order of the
vertices, are the same for everybody in every frame.

Shapes: N vertices of the mesh, F its triangles; V' vertices of the template, F' triangles of it, S bones.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from common.body.triangles import triangle_normals
from common.weights.threads import side_by_side
from receiver.body.skinning import SparseProduct
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.stage import taubin_smoothing

# Triangles whose centroids are nearest to a vertex: the nearest triangle is among them.
_CANDIDATES = 12
# Points whose arrays fit into the cache of a core.
_AT_A_TIME = 2048


@dataclass(frozen=True, slots=True)
class PosedTemplate:
    """A template in one pose, and how its vertices follow the bones.

    Args:
        vertices: (V', 3) metres.
        rotations: (S, 3, 3) of the bones, from the rest pose.
        weights: (V', S) skinning weights.
        faces: (F', 3) the triangles that a surface may lie on.
    """

    vertices: FloatArray
    rotations: FloatArray
    weights: FloatArray
    faces: Int32Array


class SurfaceCarrying(nn.Module):
    """Carries the mesh's vertices with posed templates.

    Args:
        followed: (N, V') sparse; the places, smoothed along the mesh.
        levers: (N, 3 S) sparse; from the places to the vertices in the rest pose, metres, times skinning weights.
    """

    def __init__(self, followed: scipy.sparse.csr_array, levers: scipy.sparse.csr_array) -> None:
        super().__init__()
        self.product = SparseProduct(scipy.sparse.hstack([followed, levers]))

    def forward(self, vertices: Tensor, rotations: Tensor) -> Tensor:
        """Vertices (B, N, 3) on templates (B, V', 3) with bones (B, S, 3, 3)."""
        axes = rotations.permute(1, 3, 0, 2).flatten(0, 1)
        carried: Tensor = self.product(torch.cat([vertices.transpose(0, 1), axes])).transpose(0, 1)
        return carried.contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceBinding:
    """A mesh bound to the template.

    Args:
        faces: (F, 3) triangles of the mesh, wound outwards.
        places: (N, V') sparse; barycentric coordinates of each vertex's place.
        carrying: moves the mesh.
    """

    faces: Int32Array
    places: scipy.sparse.csr_array
    carrying: SurfaceCarrying

    @classmethod
    def bind(cls, mesh: SurfaceMesh, template: PosedTemplate, smoothing_iterations: int) -> Self:
        """Binds a closed mesh to the template that it was solved around.

        Args:
            smoothing_iterations: pairs of Taubin steps, which even out noise of the template.
        """
        places = _places(mesh, template)
        followed = scipy.sparse.csr_array(
            taubin_smoothing(mesh.faces, len(mesh.vertices), smoothing_iterations) @ places
        )
        weights = np.asarray(places @ template.weights, np.float32)
        offsets = mesh.vertices - followed @ template.vertices
        turned = np.linalg.solve(_blended(weights, template.rotations), offsets[..., None])[..., 0]
        levers = scipy.sparse.csr_array((weights[:, :, None] * turned[:, None]).reshape(len(weights), -1))
        return cls(mesh.faces, places, SurfaceCarrying(followed, levers))

    def coloured(self, colours: ByteArray) -> ByteArray:
        """(N, 3) colours of the mesh's vertices from those of the template (V', 3)."""
        return np.asarray(np.rint(self.places @ colours.astype(np.float32)), np.uint8)


def _blended(weights: FloatArray, rotations: FloatArray) -> FloatArray:
    """(N, 3, 3) mean rotations of bones (S, 3, 3), weighted by (N, S)."""
    return np.asarray(weights @ rotations.reshape(len(rotations), 9), np.float32).reshape(-1, 3, 3)


def _places(mesh: SurfaceMesh, template: PosedTemplate) -> scipy.sparse.csr_array:
    """(N, V') barycentric coordinates of each vertex in the nearest triangle that faces the same way."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    triangles, coordinates = nearest_places(mesh.vertices, normals, template.vertices, template.faces)
    starts = np.arange(0, 3 * len(triangles) + 1, 3)
    shape = len(mesh.vertices), len(template.vertices)
    entries = coordinates.ravel(), template.faces[triangles].ravel(), starts
    return scipy.sparse.csr_array(entries, shape=shape)


def nearest_places(
    points: FloatArray, normals: FloatArray, vertices: FloatArray, faces: Int32Array
) -> tuple[IntArray, FloatArray]:
    """The nearest triangle of a mesh that faces the same way as each of N points, and the place on it.

    Args:
        points, normals: (N, 3).
        vertices, faces: of the mesh.

    Returns:
        (N,) indices into `faces`, and (N, 3) barycentric coordinates, none below 0.
    """
    corners = corners_of(vertices, faces)
    tree = cKDTree(corners.mean(axis=0).T, balanced_tree=False)
    facing = np.ascontiguousarray(triangle_normals(vertices, faces).T)

    def places(points: FloatArray, normals: FloatArray) -> tuple[IntArray, FloatArray]:
        near = np.ascontiguousarray(tree.query(points, min(_CANDIDATES, len(faces)))[1].T)
        at, outward = (np.ascontiguousarray(each.T, np.float32)[:, None] for each in (points, normals))
        around = corners.take(near, axis=2)
        coordinates = inside(barycentric(at, around))
        distances = np.sqrt(np.square((coordinates[:, None] * around).sum(axis=0) - at).sum(axis=0))
        cosines = (facing.take(near, axis=1) * outward).sum(axis=0)
        # Where none faces the same way, the nearest one is taken.
        best = np.where(cosines > 0, distances, distances + distances.max()).argmin(axis=0), np.arange(len(points))
        return near[best], coordinates[:, *best].T

    parts = [slice(start, start + _AT_A_TIME) for start in range(0, len(points), _AT_A_TIME)]
    triangles, coordinates = zip(*side_by_side(places, [(points[part], normals[part]) for part in parts]), strict=True)
    return np.concatenate(triangles), np.ascontiguousarray(np.concatenate(coordinates))


def corners_of(vertices: FloatArray, faces: Int32Array) -> FloatArray:
    """(3, 3, F) the corners of triangles (F, 3); the second axis has the components of vertices (V, 3).

    NumPy takes several times as long along short last axes.
    """
    return np.ascontiguousarray(np.ascontiguousarray(vertices.T)[:, faces.T].swapaxes(0, 1))


def barycentric(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Coordinates (3, …) of points (3, …) in the planes of triangles (3, 3, …), which `corners_of` gives."""
    start, along, across = corners[0], corners[1] - corners[0], corners[2] - corners[0]
    offset = points - start
    aa, ac, cc = ((one * other).sum(axis=0) for one, other in ((along, along), (along, across), (across, across)))
    pa, pc = (offset * along).sum(axis=0), (offset * across).sum(axis=0)
    area = np.maximum(aa * cc - ac * ac, np.float32(1e-18))
    second, third = (cc * pa - ac * pc) / area, (aa * pc - ac * pa) / area
    return np.asarray(np.stack([1 - second - third, second, third]), np.float32)


def inside(coordinates: FloatArray) -> FloatArray:
    """Barycentric coordinates (3, …), moved into the triangle."""
    positive = coordinates.clip(0, None)
    return np.asarray(positive / positive.sum(axis=0), np.float32)
