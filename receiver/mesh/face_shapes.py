"""The blend shapes of a body's face: what each facial action moves, in a pose, and as morph targets of glTF.

A file's mesh has a neutral face.  Its weights are the activations, so that viewers show the face as it is, and
animation tools have a shape key for each action.  Specification: Khronos glTF 2.0, section 3.7.2.2 (morph targets).

Shapes: A actions, M vertices that move, K moves of a vertex by an action, J joints, I influences of a vertex.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from common.arrays import ByteArray, FloatArray, IntArray
from receiver.mesh.glb import GlbWriter, Node
from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals

# What moves a vertex by less is left out.
_LEAST_M = 1e-4
_DECIMALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class FaceShapes:
    """What facial actions move.

    Args:
        names: A, of ARKit.
        vertices: (M,) those of the mesh that move, ascending.
        action, place: (K,) the action of each move, ascending, and which of the M vertices it moves.
        offsets: (K, 3) that it moves it by at full activation, in the rest pose, metres, y up.
        lining: (M, 3) what lays the inside of the mouth over the teeth, once a face moves.
    """

    names: tuple[str, ...]
    vertices: IntArray
    action: IntArray
    place: IntArray
    offsets: FloatArray
    lining: FloatArray

    @classmethod
    def from_actions(cls, names: tuple[str, ...], vertices: IntArray, actions: FloatArray) -> Self:
        """From displacements (1 + A, M, 3) at rest, y up: of the lining, and then of the actions."""
        action, place = np.nonzero(np.square(actions[1:]).sum(axis=2) > _LEAST_M**2)
        return cls(names, vertices, action, place, actions[1:][action, place], actions[0])

    def turned(self, rotations: FloatArray, joints: ByteArray, weights: FloatArray) -> FloatArray:
        """(K, 3) the offsets in a pose.

        Args:
            rotations: (J, 3, 3) of the joints, from the rest pose, y up.
            joints, weights: (V, I) of all vertices of the mesh.
        """
        influences, shares = joints[self.vertices], weights[self.vertices]
        blended = np.zeros((len(shares), 9), np.float32)
        for column in range(shares.shape[1]):
            blended += shares[:, column, None] * rotations.reshape(-1, 9)[influences[:, column]]
        of_move = blended.reshape(-1, 3, 3)[self.place]
        return np.asarray(np.einsum("kab,kb->ka", of_move, self.offsets), np.float32)

    def moved(self, activations: FloatArray, offsets: FloatArray | None = None) -> FloatArray:
        """(M, 3) displacements by activations (A,), with the offsets of a pose (K, 3), or those of the rest pose."""
        if offsets is None:
            return np.asarray(_at_rest(self) @ activations, np.float32).reshape(-1, 3)
        moves = activations[self.action, None] * offsets
        columns = [np.bincount(self.place, move, len(self.vertices)) for move in moves.T]
        return np.stack(columns, axis=1).astype(np.float32)

    @property
    def reach_m(self) -> FloatArray:
        """(A,) how far each action, fully activated, moves a vertex at most."""
        return _reach_m(self)

    def normal_offsets(self, mesh: SurfaceMesh) -> FloatArray:
        """(K, 3) how actions, fully activated, change the normals of what they move in a mesh at rest."""
        normals, offsets = vertex_normals(mesh.vertices, mesh.faces), np.zeros_like(self.offsets)
        vertices = self.vertices[self.place]
        for action in range(len(self.names)):
            moves, moved = self.action == action, mesh.vertices.copy()
            moved[vertices[moves]] += self.offsets[moves]
            offsets[moves] = (vertex_normals(moved, mesh.faces) - normals)[vertices[moves]]
        return offsets

    def add_targets(self, writer: GlbWriter, mesh: Node, corners: TextureCorners | None, **offsets: FloatArray) -> None:
        """Appends the targets of a mesh with one primitive, and the names of the actions.

        Args:
            corners: of the mesh's texture, for which the file has copies of its vertices.
            offsets: (K, 3) of the attributes `POSITION`, and maybe `NORMAL`.
        """
        move, element = _moves(self, corners)
        count = writer.count(mesh["primitives"][0]["attributes"]["POSITION"])
        targets: list[Node] = [{} for _ in self.names]
        for attribute, values in offsets.items():
            accessors = writer.add_sparse(count, len(self.names), self.action[move], element, values[move])
            for target, accessor in zip(targets, accessors, strict=True):
                target[attribute] = accessor
        mesh["primitives"][0]["targets"] = targets
        mesh["extras"] = {"targetNames": list(self.names)}


def rounded_weights(activations: FloatArray) -> list[float]:
    """Activations (A,) for the JSON of a file."""
    return [round(value, _DECIMALS) for value in activations.tolist()]


@lru_cache(maxsize=8)
def _at_rest(shapes: FaceShapes) -> csr_array:
    """(M · 3, A) the components of all moves."""
    rows = 3 * shapes.place[:, None] + np.arange(3)
    entries = shapes.offsets.ravel(), (rows.ravel(), shapes.action.repeat(3))
    return csr_array(entries, shape=(3 * len(shapes.vertices), len(shapes.names)))


@lru_cache(maxsize=8)
def _reach_m(shapes: FaceShapes) -> FloatArray:
    reach_m = np.zeros(len(shapes.names), np.float32)
    np.maximum.at(reach_m, shapes.action, np.linalg.norm(shapes.offsets, axis=1))
    return reach_m


@lru_cache(maxsize=8)
def _moves(shapes: FaceShapes, corners: TextureCorners | None) -> tuple[IntArray, IntArray]:
    """The moves of a file's vertices, by action and vertex: which of the K each is, and the vertex."""
    if corners is None:
        return np.arange(len(shapes.place)), shapes.vertices[shapes.place]
    move_of = np.full((len(shapes.names), int(corners.vertex.max()) + 1), -1)
    move_of[shapes.action, shapes.vertices[shapes.place]] = np.arange(len(shapes.place))
    copied = move_of[:, corners.vertex]
    action, element = np.nonzero(copied >= 0)
    return copied[action, element], element
