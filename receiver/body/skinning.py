"""The parametric body as publish needs it: one closed piece of skin, hung on its skeleton."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import POINTS, SKELETON
from common.body.model import BodyModel, BodyOutput
from receiver.body.colouring import NORMAL_M, inverse_distance, rest_places
from receiver.mesh.skinned_glb import PosedBody, Skeleton, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals

_POINTS_A_VERTEX = 4


@dataclass(frozen=True, slots=True)
class BodySkin:
    """What stays the same from frame to frame.

    Eyeballs, teeth and tongue are pieces of their own within the head; a published body is one watertight piece, so
    they are left out.

    Args:
        skeleton: joints and skinning weights.
        faces: (F, 3) indices into the kept vertices.
        kept: (V',) which of the body model's vertices are kept.
        region: (V',) region of each kept vertex.
        points: (V', 2048) sparse, rows that add up to one: how much each surface point counts for a vertex's colour.
    """

    skeleton: Skeleton
    faces: Int32Array
    kept: IntArray
    region: IntArray
    points: scipy.sparse.csr_array

    @classmethod
    def of(cls, model: BodyModel) -> "BodySkin":
        """The skin and skeleton of a body model."""
        all_faces = model.faces.numpy()
        kept = _vertices_of_largest_piece(all_faces, len(model.vertex_region))
        renumbered = np.full(len(model.vertex_region), -1, dtype=np.int32)
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        faces = renumbered[all_faces]
        faces = faces[(faces >= 0).all(axis=1)]
        skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), model.weights.numpy()[kept])
        points = _points_about(model.rest_vertices[0].numpy()[kept], faces, model)
        return cls(skeleton, faces, kept, model.vertex_region.numpy()[kept], points)

    def pose(
        self,
        output: BodyOutput,
        index: int = 0,
        region_colours: FloatArray | None = None,
        point_colours: FloatArray | None = None,
    ) -> PosedBody:
        """Body `index` of a batch.

        Args:
            output: what the body model gave.
            index: which body of the batch.
            region_colours: (R, 3) RGB 0…1 of the body's regions.
            point_colours: (2048, 3) RGB 0…1 of its surface points, which count instead where they are given.
        """
        vertices = output.vertices[index].detach().cpu().numpy()[self.kept]
        colours = None
        if point_colours is not None:
            colours = _bytes(self.points @ point_colours)
        elif region_colours is not None:
            colours = _bytes(region_colours)[self.region]
        return PosedBody(
            SurfaceMesh(vertices, self.faces, colours),
            output.joint_positions[index].detach().cpu().numpy(),
            output.joint_rotations[index].detach().cpu().numpy(),
        )


def _bytes(colours: FloatArray) -> ByteArray:
    """RGB 0…1 as 0…255."""
    return np.round(np.clip(colours, 0.0, 1.0) * 255.0).astype(np.uint8)


def _points_about(vertices: FloatArray, faces: Int32Array, model: BodyModel) -> scipy.sparse.csr_array:
    """The nearest surface points of each vertex (V', 3) at rest that look its way, by their distance."""
    places = np.hstack([vertices, NORMAL_M * vertex_normals(vertices, faces)])
    distance, near = cKDTree(rest_places(model)).query(places, k=_POINTS_A_VERTEX)
    starts = np.arange(0, near.size + 1, _POINTS_A_VERTEX)
    weights = inverse_distance(distance)
    return scipy.sparse.csr_array((weights.ravel(), near.ravel(), starts), shape=(len(vertices), POINTS))


def _vertices_of_largest_piece(faces: IntArray, vertex_count: int) -> IntArray:
    """Indices of the vertices of the connected piece that has the most of them."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edges = scipy.sparse.coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(vertex_count, vertex_count))
    _, piece = connected_components(edges, directed=False)
    return np.flatnonzero(piece == np.argmax(np.bincount(piece)))
