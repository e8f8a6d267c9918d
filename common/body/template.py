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
from scipy.spatial import cKDTree
from torch import Tensor

from common.arrays import BoolArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import MIRROR_SIGNS
from common.body.model import BodyModel, BodyOutput, BodyParameters, skin
from common.body.triangles import VertexNormals, largest_component, vertex_adjacency


@dataclass(frozen=True, eq=False)
class BodyTemplate:
    """The largest connected component of the body model: eyeballs, teeth and tongue are separate and left out.

    Args:
        faces: (F', 3) indices into the template's vertices, wound counter-clockwise from outside.
        kept: (V',) indices of the body model's vertices that the template keeps, ascending.
        place: (V,) the template's vertex that each of the body model's is; −1 for those that are left out.
        rest: (V', 3) vertices of the mean body in the rest pose, camera axes, metres.
        weights: (V', 52) skinning weights.
        region: (V',) index into `anatomy.REGIONS`.
        face_index: (F',) the body model's triangles that `faces` are.
        outside: (V',) whether the vertex is on the outer skin; the others line the mouth and the eye sockets.
    """

    faces: Int32Array
    kept: IntArray
    place: Int32Array
    rest: FloatArray
    weights: FloatArray
    region: IntArray
    face_index: IntArray
    outside: BoolArray

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """The template of a body model."""
        faces, count = model.faces.cpu().numpy(), len(model.vertex_region)
        kept = np.flatnonzero(largest_component(faces, count))
        place = np.full(count, -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        kept_faces = place[faces]
        face_index = np.flatnonzero((kept_faces >= 0).all(axis=1))
        on_skin = np.zeros(count, np.bool_)
        on_skin[model.skin_faces.cpu().numpy()] = True
        return cls(
            faces=kept_faces[face_index],
            kept=kept,
            place=place,
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
        return self.vertex_normals.with_areas(self.rest)[1]

    @cached_property
    def adjacency(self) -> sparse.csr_matrix:
        """(V', V') 1 where an edge connects two vertices; symmetric."""
        return vertex_adjacency(self.faces, len(self))

    @cached_property
    def mirror(self) -> IntArray:
        """(V',) the vertex on the other side; the mesh is symmetric, and the permutation its own inverse."""
        return np.asarray(cKDTree(self.rest).query(self.rest * np.array(MIRROR_SIGNS, np.float32))[1], np.int64)

    @cached_property
    def vertex_normals(self) -> VertexNormals:
        """Normals and areas of the vertices, in any pose."""
        return VertexNormals(self.faces, len(self))

    def posed(self, model: BodyModel, parameters: BodyParameters, displacement: Tensor | None = None) -> BodyOutput:
        """B templates in camera space; `vertices` are theirs, (B, V', 3).

        Args:
            displacement: (B, V', 3) in the rest pose, camera axes, metres; None for the bare body.
        """
        rest, rest_joints = model.rest(parameters.shape)
        kept, weights = self._on(model.weights.device)
        moved = rest[:, kept] if displacement is None else rest[:, kept] + displacement
        positions, rotations = model.forward_kinematics(parameters)
        return BodyOutput(skin(moved, rest_joints, positions, rotations, weights), positions, rotations)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`kept` and `weights` on a device, copied there once."""
        if device not in self._copies:
            arrays = (torch.from_numpy(array) for array in (self.kept, self.weights))
            kept, weights = (array.to(device) for array in arrays)
            self._copies[device] = kept, weights
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}
