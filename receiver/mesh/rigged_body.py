"""The bodies of a session as small documents that refer to files they share: rig, blend shapes and texture.

A rig is bound in the rest pose. A frame's document (glTF 2.0, JSON) has the pose, and the weights of the blend shapes
that move something. Rigs follow the labels, which change a person's figure, clothes and colours in steps: a new one is
written where the last one, in the frame's pose, is further than `_NEAR_M` from the frame's body.

Shapes: V vertices, J joints, A facial actions.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from common.arrays import Float64Array, FloatArray
from receiver.mesh.face_shapes import FaceShapes, rounded_weights
from receiver.mesh.glb import TEXTURE, GlbWriter, Node, asset, encode_document, part_name
from receiver.mesh.mesh_files import Y_UP, to_y_up
from receiver.mesh.posing import blended_transforms, posed, rest_positions, unposed
from receiver.mesh.skinned_glb import (
    PosedBody,
    Skeleton,
    add_skin,
    add_skinned_triangles,
    body_node,
    joint_nodes,
    relative_to_parents,
    skeleton_of,
)
from receiver.mesh.triangle_mesh import SurfaceMesh

_NEAR_M = 1e-3
# Joints may be off by less, because a chain of them adds up; of vertices, every eighth one is looked at: figures and
# clothes change hundreds at once.
_NEAR_JOINT_M, _EVERY = 2e-4, 8
# Weights that move nothing by more are left out of a document.
_LEAST_MOVE_M = 3e-4
# 0.05 mm, and 0.001°; 0.01° of joints from which the longest chain of bones is shorter than this.
_OFFSET_DECIMALS, _TURN_DECIMALS = 4, 5
_SHORT_REACH_M = 0.45
# 0.005 mm: bounds of vertices are in each document.
_VERTEX_DECIMALS = 5
# As many people are in a frame at most.
_MOST_RIGS = 16
_AT_REST = {"translation": [0.0, 0.0, 0.0], "rotation": [0.0, 0.0, 0.0, 1.0]}


@dataclass(frozen=True, slots=True, eq=False)
class _Figure:
    """A body at rest, y up, with its root at the origin.

    Args:
        offsets, joints: (J, 3) of the joints, metres, relative to the parent and to the root.
        vertices: (V, 3) with a neutral face; of one that moves, the mouth has teeth.
        face: of one that moves; None of another one.
    """

    offsets: Float64Array
    joints: Float64Array
    vertices: FloatArray
    face: FaceShapes | None


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A body of one frame, y up.

    Args:
        vertices: (V, 3) metres.
        positions, rotations: (J, 3) and (J, 3, 3) of the joints.
        offsets: (J, 3) metres, from the parent.
        turns: (J, 4) quaternions, relative to the parent.
        activations: (A,) of a face that moves; None of another one.
    """

    vertices: FloatArray
    positions: FloatArray
    rotations: FloatArray
    offsets: Float64Array
    turns: Float64Array
    activations: FloatArray | None

    @classmethod
    def of(cls, body: PosedBody, skeleton: Skeleton) -> Self:
        positions, rotations = to_y_up(body.joint_positions), body.joint_rotations * Y_UP[:, None] * Y_UP
        offsets, turns = relative_to_parents(skeleton, positions, rotations)
        moves = skeleton.face is not None and body.activations is not None and bool(body.activations.any())
        activations = body.activations if moves else None
        vertices = to_y_up(body.mesh.vertices)
        return cls(vertices, positions, rotations, offsets.astype(np.float64), turns, activations)

    def figure(self, skeleton: Skeleton) -> _Figure:
        """The body at rest."""
        offsets = self.offsets.copy()
        offsets[0] = 0.0
        joints = rest_positions(skeleton.parents.tolist(), offsets)
        transforms = blended_transforms(skeleton, self.rotations, self.positions.astype(np.float64), joints)
        rest: FloatArray = np.asarray(unposed(self.vertices, transforms), np.float32)
        face = None if self.activations is None else skeleton.face
        if face is not None and self.activations is not None:
            rest[face.vertices] -= face.moved(self.activations)
        return _Figure(offsets, joints, rest, face)

    def shows(self, figure: _Figure, skeleton: Skeleton) -> bool:
        """Whether a figure looks the same in the pose and with the expression of the frame."""
        if (figure.face is None) != (self.activations is None):
            return False
        if np.abs(self.offsets[1:] - figure.offsets[1:]).max(initial=0.0) > _NEAR_JOINT_M:
            return False
        rest = figure.vertices
        if figure.face is not None and self.activations is not None:
            rest = rest.copy()
            rest[figure.face.vertices] += figure.face.moved(self.activations)
        transforms = blended_transforms(skeleton, self.rotations, self.positions, figure.joints, _EVERY)
        errors = posed(rest[::_EVERY], transforms) - self.vertices[::_EVERY]
        return bool(np.einsum("va,va->v", errors, errors).max() <= _NEAR_M**2)


@dataclass(frozen=True, slots=True, eq=False)
class _Rig:
    """What the documents of a person have in common until the labels say something else.

    Args:
        skeleton: with the weights of `body`.
        body: the one whose appearance it has.
        document: all but pose and texture, with all blend shapes.
        files: names of those that it refers to.
    """

    skeleton: Skeleton
    figure: _Figure
    body: PosedBody
    document: Node
    files: frozenset[str]


class RiggedBodies:
    """Encodes the bodies of one session.

    Args:
        prefix: of the names of files.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._rigs: dict[int | None, _Rig] = {}

    def encode(
        self, person: int | None, body: PosedBody, skeleton: Skeleton, present: Callable[[str], bool]
    ) -> tuple[bytes, Mapping[str, bytes]]:
        """The document of a body, and the files that it refers to and that are not present, by their names.

        Args:
            person: whose body it is.
            present: whether there is a file of a name.

        Raises:
            ValueError: body and skeleton differ in joints or vertices, or a number is not finite.
        """
        skeleton, texture = skeleton_of(body, skeleton), body.texture
        frame, files = _Frame.of(body, skeleton), dict[str, bytes]()
        rig = self._rigs.pop(person, None)
        figure = rig.figure if rig and frame.shows(rig.figure, rig.skeleton) else frame.figure(skeleton)
        kept = rig is not None and figure is rig.figure and _same_attributes(rig.body, body)
        if rig is None or not kept or not all(map(present, rig.files)):
            rig, files = _bound(body, figure, skeleton, self._prefix)
        self._rigs[person] = rig
        if len(self._rigs) > _MOST_RIGS:
            del self._rigs[next(iter(self._rigs))]
        document = _posed(rig, frame, body.unseen_limbs)
        if texture is not None:
            name = self._prefix + part_name(TEXTURE, texture.jpeg, "jpg")
            files[name] = texture.jpeg
            document["images"] = [{"uri": name}]
            document["asset"] = asset(True, [] if texture.unseen_share is None else [texture.unseen_share])
        return encode_document(document), {name: files[name] for name in files if not present(name)}


def _same_attributes(one: PosedBody, other: PosedBody) -> bool:
    """Whether two bodies have the same skinning weights, and colours or texture coordinates, of all vertices."""
    pairs = itertools.zip_longest(_attributes(one), _attributes(other))
    return all(
        mine is its or (mine is not None and its is not None and np.array_equal(mine, its)) for mine, its in pairs
    )


def _attributes(body: PosedBody) -> Iterator[npt.NDArray[Any] | None]:
    yield body.mesh.faces
    if body.texture is None:
        yield body.mesh.colours
    else:
        corners = body.texture.corners
        yield from (corners.vertex, corners.coordinates, corners.faces)
    if (change := body.reweighted) is not None:
        yield from (change.vertices, change.vertex_joints, change.vertex_weights)


def _bound(body: PosedBody, figure: _Figure, skeleton: Skeleton, prefix: str) -> tuple[_Rig, dict[str, bytes]]:
    """The rig of a body, and its files."""
    writer, face = GlbWriter(compact=True), figure.face
    mesh = SurfaceMesh(np.round(figure.vertices, _VERTEX_DECIMALS), body.mesh.faces, body.mesh.colours)
    primitive = add_skinned_triangles(writer, mesh, body.texture, skeleton)
    described: Node = {"name": "body", "primitives": [primitive]}
    joints = rest_positions(skeleton.parents.tolist(), _rounded(figure.offsets, _OFFSET_DECIMALS)).astype(np.float32)
    unturned: FloatArray = np.tile(np.eye(3, dtype=np.float32), (len(joints), 1, 1))
    skin = add_skin(writer, "skeleton", 1, joints, unturned)
    if face is not None:
        corners = None if body.texture is None else body.texture.corners
        face.add_targets(writer, described, corners, POSITION=np.round(face.offsets, _OFFSET_DECIMALS))
    document, files = writer.to_files({"scenes": [{"nodes": [0, 1]}], "meshes": [described], "skins": [skin]}, prefix)
    # The picture may change without the rig.
    for image in document.get("images", ()):
        del files[image["uri"]]
    return _Rig(skeleton, figure, body, document, frozenset(files)), files


def _posed(rig: _Rig, frame: _Frame, unseen_limbs: Set[str]) -> Node:
    """The document of a frame."""
    offsets, document = rig.figure.offsets.copy(), rig.document
    offsets[0] = frame.offsets[0]
    short = _reach_m(rig.skeleton, offsets)[:, None] < _SHORT_REACH_M
    turns = np.where(short, _rounded(frame.turns, _TURN_DECIMALS - 1), _rounded(frame.turns, _TURN_DECIMALS))
    joints = joint_nodes(rig.skeleton, _rounded(offsets, _OFFSET_DECIMALS), turns, first=1)
    for joint in joints:
        for name, value in _AT_REST.items():
            if joint[name] == value:
                del joint[name]
    if rig.figure.face is not None and frame.activations is not None:
        document = _expressive(document, rig.figure.face, frame.activations)
    return {**document, "nodes": [body_node("body", unseen_limbs), *joints]}


def _reach_m(skeleton: Skeleton, offsets: Float64Array) -> Float64Array:
    """(J,) length of the longest chain of bones from each joint on."""
    lengths_m, reach_m = np.linalg.norm(offsets, axis=1).tolist(), [0.0] * len(offsets)
    for joint in range(len(offsets) - 1, 0, -1):
        parent = int(skeleton.parents[joint])
        reach_m[parent] = max(reach_m[parent], reach_m[joint] + lengths_m[joint])
    return np.array(reach_m)


def _rounded(values: Float64Array, decimals: int) -> Float64Array:
    """Without the sign of zero, which takes room."""
    return np.asarray(np.round(values, decimals) + 0.0, np.float64)


def _expressive(document: Node, face: FaceShapes, activations: FloatArray) -> Node:
    """A rig's document with the blend shapes that move something, and their weights."""
    shown = np.flatnonzero(face.reach_m * activations > _LEAST_MOVE_M).tolist()
    (mesh,), accessors = document["meshes"], document["accessors"]
    (primitive,), first = mesh["primitives"], len(accessors) - len(face.names)
    weights, names = rounded_weights(activations), mesh["extras"]["targetNames"]
    mesh = {
        **mesh,
        "primitives": [{**primitive, "targets": [{"POSITION": first + place} for place in range(len(shown))]}],
        "extras": {"targetNames": [names[action] for action in shown]},
        "weights": [weights[action] for action in shown],
    }
    return {**document, "meshes": [mesh], "accessors": accessors[:first] + [accessors[first + k] for k in shown]}
