"""The bodies of a session as small documents that refer to files they share: rig, blend shapes and texture.

A rig is bound in the rest pose. A frame's document (glTF 2.0, JSON) has the pose, and the weights of the blend shapes
that move something. Rigs follow the labels, which change a person's figure, clothes and colours in steps: a new one is
written where the last one, in the frame's pose, is further than `_NEAR_M` from the frame's body.

Shapes: V vertices, J joints, A facial actions.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, Float64Array, FloatArray
from receiver.mesh.face_shapes import FaceShapes, rounded_weights
from receiver.mesh.glb import TEXTURE, GlbWriter, Node, asset, compact_json, part_name
from receiver.mesh.mesh_files import Y_UP, to_y_up
from receiver.mesh.mesh_texture import MeshTexture
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
# What goes without saying, and what stands for a number that a frame has.
_AT_REST = (',"translation":[0.0,0.0,0.0]', ',"rotation":[0.0,0.0,0.0,1.0]')
_OPEN = "@"


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
        vertices: (V, 3) metres, in camera space.
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
        return cls(body.mesh.vertices, positions, rotations, offsets.astype(np.float64), turns, activations)

    def figure(self, skeleton: Skeleton) -> _Figure:
        """The body at rest."""
        offsets = self.offsets.copy()
        offsets[0] = 0.0
        joints = rest_positions(skeleton.parents.tolist(), offsets)
        transforms = blended_transforms(skeleton, self.rotations, self.positions.astype(np.float64), joints)
        rest: FloatArray = np.asarray(unposed(to_y_up(self.vertices), transforms), np.float32)
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
        rest, face = figure.vertices[::_EVERY], figure.face
        if face is not None and self.activations is not None:
            looked_at = face.vertices % _EVERY == 0
            rest = rest.copy()
            rest[face.vertices[looked_at] // _EVERY] += face.moved(self.activations)[looked_at]
        transforms = blended_transforms(skeleton, self.rotations, self.positions, figure.joints, _EVERY)
        errors = posed(rest, transforms) - to_y_up(self.vertices[::_EVERY])
        return bool(np.einsum("va,va->v", errors, errors).max() <= _NEAR_M**2)


@dataclass(frozen=True, slots=True, eq=False)
class _Rig:
    """What the documents of a person have in common until the labels say something else.

    Args:
        skeleton: with the weights of `body`.
        body: the one whose appearance it has.
        document: all but pose and texture, with all blend shapes.
        files: names of those that it refers to.
        joints: JSON of the joints' nodes, between which are the root's place and all turns.
        short: (J, 1) which turns need fewer digits.
    """

    skeleton: Skeleton
    figure: _Figure
    body: PosedBody
    document: Node
    files: frozenset[str]
    joints: list[str]
    short: BoolArray

    def suits(self, body: PosedBody, figure: _Figure) -> bool:
        """Whether all but the shape is the same in the rig of another body."""
        return (self.figure.face is None) == (figure.face is None) and _same_attributes(self.body, body)

    def reshaped(self, figure: _Figure, prefix: str) -> tuple[Self, dict[str, bytes]]:
        """The rig of another figure, and its files that this one has not."""
        writer = GlbWriter(compact=True)
        writer.add_vertices(_rounded_mesh(figure, self.body), self.body.texture)
        joints, short, _ = _add_joints(writer, figure, self.skeleton)
        shape, files = writer.to_files({}, prefix)
        buffers, accessors = self.document["buffers"], self.document["accessors"]
        document = {
            **self.document,
            "buffers": [*shape["buffers"], *buffers[1:]],
            "accessors": [shape["accessors"][0], *accessors[1:]],
        }
        names = self.files - {buffers[0]["uri"]} | files.keys()
        return replace(self, figure=figure, document=document, files=names, joints=joints, short=short), files

    def posed(self, frame: _Frame) -> str:
        """JSON of the joints' nodes in a frame."""
        turns = np.where(self.short, _rounded(frame.turns, _TURN_DECIMALS - 1), _rounded(frame.turns, _TURN_DECIMALS))
        place = _rounded(frame.offsets[0], _OFFSET_DECIMALS)
        numbers = compact_json([place.tolist(), *turns.tolist()])[1:-1].replace("],[", "]@[").split("@")
        text = "".join(itertools.chain.from_iterable(zip(self.joints, [*numbers, ""], strict=True)))
        return text.replace(_AT_REST[0], "").replace(_AT_REST[1], "")


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
        if rig is None or not rig.suits(body, figure) or not all(map(present, rig.files)):
            rig, files = _bound(body, figure, skeleton, self._prefix)
        elif figure is not rig.figure:
            rig, files = rig.reshaped(figure, self._prefix)
        self._rigs[person] = rig
        if len(self._rigs) > _MOST_RIGS:
            del self._rigs[next(iter(self._rigs))]
        document = rig.document
        if rig.figure.face is not None and frame.activations is not None:
            document = _expressive(document, rig.figure.face, frame.activations)
        if texture is not None:
            name = self._prefix + _name_of(texture)
            files[name] = texture.jpeg
            described = asset(True, [] if texture.unseen_share is None else [texture.unseen_share])
            document = {**document, "images": [{"uri": name}], "asset": described}
        nodes = f"{compact_json(body_node('body', body.unseen_limbs))},{rig.posed(frame)}"
        content = f'{compact_json(document)[:-1]},"nodes":[{nodes}]}}'
        return content.encode(), {name: files[name] for name in files if not present(name)}


@lru_cache(maxsize=_MOST_RIGS)
def _name_of(texture: MeshTexture) -> str:
    """Of the file of its picture."""
    return part_name(TEXTURE, texture.jpeg, "jpg")


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
    primitive = add_skinned_triangles(writer, _rounded_mesh(figure, body), body.texture, skeleton)
    described: Node = {"name": "body", "primitives": [primitive]}
    joints, short, skin = _add_joints(writer, figure, skeleton)
    if face is not None:
        corners = None if body.texture is None else body.texture.corners
        face.add_targets(writer, described, corners, POSITION=np.round(face.offsets, _OFFSET_DECIMALS))
    document, files = writer.to_files({"scenes": [{"nodes": [0, 1]}], "meshes": [described], "skins": [skin]}, prefix)
    # The picture may change without the rig.
    for image in document.get("images", ()):
        del files[image["uri"]]
    return _Rig(skeleton, figure, body, document, frozenset(files), joints, short), files


def _rounded_mesh(figure: _Figure, body: PosedBody) -> SurfaceMesh:
    return SurfaceMesh(np.round(figure.vertices, _VERTEX_DECIMALS), body.mesh.faces, body.mesh.colours)


def _add_joints(writer: GlbWriter, figure: _Figure, skeleton: Skeleton) -> tuple[list[str], BoolArray, Node]:
    """Adds the skin of a rig; returns `_Rig.joints`, `_Rig.short`, and the skin."""
    offsets = _rounded(figure.offsets, _OFFSET_DECIMALS)
    places = rest_positions(skeleton.parents.tolist(), offsets).astype(np.float32)
    unturned: FloatArray = np.tile(np.eye(3, dtype=np.float32), (len(places), 1, 1))
    nodes = joint_nodes(skeleton, offsets, np.zeros((len(places), 4)), first=1)
    nodes[0]["translation"] = _OPEN
    for node in nodes:
        node["rotation"] = _OPEN
    joints = compact_json(nodes)[1:-1].split(f'"{_OPEN}"')
    short = np.asarray(_reach_m(skeleton, figure.offsets)[:, None] < _SHORT_REACH_M)
    return joints, short, add_skin(writer, "skeleton", 1, places, unturned)


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
    active = np.flatnonzero(face.reach_m * activations > _LEAST_MOVE_M).tolist()
    (mesh,), accessors = document["meshes"], document["accessors"]
    (primitive,), first = mesh["primitives"], len(accessors) - len(face.names)
    weights, names = rounded_weights(activations), mesh["extras"]["targetNames"]
    mesh = {
        **mesh,
        "primitives": [{**primitive, "targets": [{"POSITION": first + place} for place in range(len(active))]}],
        "extras": {"targetNames": [names[action] for action in active]},
        "weights": [weights[action] for action in active],
    }
    return {**document, "meshes": [mesh], "accessors": accessors[:first] + [accessors[first + k] for k in active]}
