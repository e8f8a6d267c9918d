"""The parametric body for export: one closed skin mesh, bound to its skeleton."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import POINTS, SKELETON
from common.body.model import BodyModel, BodyOutput
from common.body.template import BodyTemplate
from common.weights.devices import to_numpy
from receiver.body.colouring import NORMAL_WEIGHT_M, inverse_distance_weights, rest_oriented_points
from receiver.mesh.skinned_glb import PosedBody, Skeleton, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals

_POINTS_PER_VERTEX = 4


@dataclass(frozen=True, slots=True)
class BodySkin:
    """The parts of the exported body that are the same in every frame.

    Eyeballs, teeth and tongue are separate connected components inside the head.  They are left out, because a
    published body is one watertight connected component.

    Args:
        skeleton: joints and skinning weights.
        faces: (F, 3) indices into the kept vertices.
        kept: (V',) indices of the body model's vertices that are kept.
        region: (V',) region of each kept vertex.
        points: (V', 2048) sparse, rows sum to 1: weight of each surface point in a vertex's colour.
    """

    skeleton: Skeleton
    faces: Int32Array
    kept: IntArray
    region: IntArray
    points: scipy.sparse.csr_array

    @classmethod
    def of(cls, model: BodyModel) -> Self:
        """Extracts the skin and skeleton of a body model."""
        template = BodyTemplate.of(model)
        skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), template.weights)
        points = _point_weights(template.rest, template.faces, model)
        return cls(skeleton, template.faces, template.kept, template.region, points)

    def skeleton_with(self, model: BodyModel, influences: int) -> Skeleton:
        """The skeleton with more than the four weights of each vertex that `skeleton` has.

        Args:
            model: the body model that this is the skin of.
            influences: weights of each vertex, a multiple of 4.
        """
        return skeleton_from_dense(SKELETON, np.array(model.parents), to_numpy(model.weights)[self.kept], influences)

    def pose(
        self,
        output: BodyOutput,
        index: int = 0,
        region_colours: FloatArray | None = None,
        point_colours: FloatArray | None = None,
    ) -> PosedBody:
        """Selects one body of a batch and colours it.

        Args:
            output: of the body model.
            index: of the body in the batch.
            region_colours: (R, 3) RGB 0…1 of the body's regions; ignored if `point_colours` is given.
            point_colours: (2048, 3) RGB 0…1 of the body's surface points.
        """
        vertices = to_numpy(output.vertices[index])[self.kept]
        colours = None
        if point_colours is not None:
            colours = _to_bytes(self.points @ point_colours)
        elif region_colours is not None:
            colours = _to_bytes(region_colours)[self.region]
        return PosedBody(
            SurfaceMesh(vertices, self.faces, colours),
            to_numpy(output.joint_positions[index]),
            to_numpy(output.joint_rotations[index]),
        )


def _to_bytes(colours: FloatArray) -> ByteArray:
    """RGB 0…1 → 0…255."""
    return np.round(np.clip(colours, 0.0, 1.0) * 255.0).astype(np.uint8)


def _point_weights(vertices: FloatArray, faces: Int32Array, model: BodyModel) -> scipy.sparse.csr_array:
    """(V', 2048) inverse-distance weights of the surface points nearest to each rest vertex (V', 3) in position and
    normal."""
    oriented = np.hstack([vertices, NORMAL_WEIGHT_M * vertex_normals(vertices, faces)])
    distance, nearest = cKDTree(rest_oriented_points(model)).query(oriented, k=_POINTS_PER_VERTEX)
    row_starts = np.arange(0, nearest.size + 1, _POINTS_PER_VERTEX)
    weights = inverse_distance_weights(distance)
    return scipy.sparse.csr_array((weights.ravel(), nearest.ravel(), row_starts), shape=(len(vertices), POINTS))
