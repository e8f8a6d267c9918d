"""Rigs a character from published bodies: one mesh at rest, weights, and the motion of all frames.

Published bodies once had the four largest weights of each vertex, in the pose of their frame. The body model has up to
seven, and a character, which takes other poses, needs them.

Makes an animated character of the skinned bodies of a session.

Every published body is bound in the pose of its own frame, and its shape may differ from frame to frame, because the
sender refines it. A character has one shape: that of the frame whose bones are nearest to the median of all frames.
Where a frame's body is larger than it, the character is nearer by as much, so that it is as large in the image.
Its mesh is brought into the rest pose by the inverse of skinning (`receiver.mesh.posing`), in double precision.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import Float64Array, FloatArray, IntArray
from common.errors import UsageError
from receiver.export.character import Character, Motion, continuous, moved_mesh
from receiver.export.recorded_session import BodyAt
from receiver.mesh import posing
from receiver.mesh.body_file import BodyFile, LocalPose, read_body, read_pose
from receiver.mesh.glb import static_mesh_glb
from receiver.mesh.mesh_files import Y_UP, to_y_up
from receiver.mesh.posing import blended_transforms, joint_transforms, rest_positions
from receiver.mesh.skinned_glb import PosedBody, Skeleton, encode_body
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.outfits.mixture import Kinds

if TYPE_CHECKING:
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin


def full_weights(published: Skeleton) -> Skeleton:
    """The skeleton with all weights of the body model, if it is the body model's; otherwise as it is."""
    skin = load_body_skin()[1]
    if not _equal_but_for_span(published, skin.skeleton_with(published.vertex_joints.shape[1])):
        return published
    return spanning_skeleton(skin.span.shares_of(published))


def is_of_body_model(skeleton: Skeleton) -> bool:
    """Whether a skeleton from `full_weights` is the body model's."""
    return _equal_but_for_span(skeleton, load_body_skin()[1].skeleton)


def spanning_skeleton(shares: FloatArray) -> Skeleton:
    """All weights of a body of which hips and legs (L,) follow the other leg by these shares."""
    skin = load_body_skin()[1]
    return skin.skeleton.reweighted(skin.span.reweighted(shares)) if shares.any() else skin.skeleton


@functools.cache
def load_body_skin() -> "tuple[BodyModel, BodySkin]":
    """The body model, and its skin as it is published."""
    # The networks' library takes seconds, which exports without a mesh need not wait for.
    from common.body.model import BodyModel
    from receiver.body.skinning import BodySkin

    model = BodyModel.load()
    return model, BodySkin.from_model(model)


def _equal_but_for_span(one: Skeleton, other: Skeleton) -> bool:
    """Whether joints are equal, and the weights of all vertices that clothes cannot change."""
    if one.names != other.names or not np.array_equal(one.parents, other.parents):
        return False
    if one.vertex_joints.shape != other.vertex_joints.shape:
        return False
    kept = np.ones(len(one.vertex_joints), np.bool_)
    kept[load_body_skin()[1].span.vertices] = False
    return np.array_equal(one.vertex_joints[kept], other.vertex_joints[kept]) and np.allclose(
        one.vertex_weights[kept], other.vertex_weights[kept], atol=1e-6
    )


logger = logging.getLogger(__name__)

_SAME_SHAPE_M = 1e-3


class UnreadableBodies(UsageError):
    """None of a person's bodies can be read."""


@dataclass(slots=True)
class LeftOut:
    """Bodies that could not be exported: how many of `seen`, and the `reason` of the first."""

    seen: int = 0
    bodies: int = 0
    reason: str = ""

    def add(self, reason: object) -> None:
        """Counts a body."""
        self.bodies += 1
        self.reason = self.reason or str(reason)


@dataclass(slots=True)
class _Poses:
    """The poses of a person's readable bodies."""

    bodies: list[BodyAt] = field(default_factory=list)
    translations: list[FloatArray] = field(default_factory=list)
    rotations: list[FloatArray] = field(default_factory=list)
    activations: list[FloatArray | None] = field(default_factory=list)
    unseen_limbs: list[frozenset[str]] = field(default_factory=list)


def rig(
    identity: int,
    bodies: Sequence[BodyAt],
    left_out: LeftOut,
    kinds: Kinds = MappingProxyType({}),
    *,
    published_weights: bool = False,
) -> Character:
    """Makes a character of a person's bodies, whose meshes are read for two frames only.

    Args:
        bodies: in order of time.
        left_out: counts the bodies that cannot be read, or are of another skeleton than the first one.
        kinds: of what the person wears, as far as it is known.
        published_weights: skin with those of the files, not with all of the body model, which takes seconds to load.

    Raises:
        UnreadableBodies: none of the bodies can be read.
    """
    poses = _read_poses(bodies, left_out)
    if poses.bodies:
        translations, rotations = np.stack(poses.translations), continuous(np.stack(poses.rotations))
        for index in _by_suitability(translations, rotations):
            try:
                body = read_body(poses.bodies[index].path)
            except ValueError as error:
                left_out.reason = left_out.reason or str(error)
                continue
            times_s = np.array([body.time_s for body in poses.bodies])
            legs_seen = np.array([body.legs_seen for body in poses.bodies])
            roots = translations[:, 0] * _relative_sizes(translations, body.pose)
            motion = _strictly_increasing(Motion(times_s, rotations, roots, legs_seen, _faces(poses.activations)))
            skeleton = body.skeleton if published_weights else full_weights(body.skeleton)
            character = _character(identity, body, skeleton, _latest_painted(poses.bodies, body), motion, kinds)
            return dataclasses.replace(character, unseen_limbs=frozenset.intersection(*poses.unseen_limbs))
    raise UnreadableBodies(f"none of the {len(bodies)} bodies of person {identity} can be read: {left_out.reason}")


def rig_one(identity: int, body: BodyFile, kinds: Kinds) -> Character:
    """Makes a character of one body, in its pose, of somebody who wears these kinds."""
    pose = body.pose
    rotations, root = pose.rotations[None].astype(np.float32), pose.translations[None, 0].astype(np.float32)
    motion = Motion(np.zeros(1), rotations, root, activations=_faces([pose.activations]))
    return _character(identity, body, full_weights(body.skeleton), body, motion, kinds)


def made_of_body(path: Path) -> bytes:
    """A GLB file that a session lacks, made of `000123.body.gltf`.

    Args:
        path: `000123.body.glb`, which is bound in its pose, or `000123.glb`, which has the expression and no skeleton.

    Raises:
        ValueError: there is no such body, or it cannot be read.
    """
    if path.stem.endswith(".body"):
        character = rig_one(0, read_body(path.with_suffix(".gltf")), {})
        return encode_body(posed(character), character.skeleton)
    body = read_body(path.with_suffix(".body.gltf"), morphed=True)
    return static_mesh_glb(body.mesh, body.texture)


def posed(character: Character) -> PosedBody:
    """The body in the pose of the character's first frame, camera axes: the inverse of `unposed`."""
    skeleton, motion, face = character.skeleton, character.motion, character.face
    activations = None if face is None or motion.activations is None else motion.activations[0]
    mesh = character.mesh
    if face is not None and activations is not None and activations.any():
        mesh = moved_mesh(mesh, face.vertices, face.lining + face.moved(activations))
    offsets = character.offsets.copy()
    offsets[0] = motion.root_positions[0]
    names, parents = skeleton.names, tuple(skeleton.parents.tolist())
    rotations, positions = world_transforms(LocalPose(names, parents, offsets, motion.rotations[0].astype(np.float64)))
    vertices = posing.posed(mesh.vertices, blended_transforms(skeleton, rotations, positions, character.rest_positions))
    mesh = dataclasses.replace(mesh, vertices=to_y_up(vertices.astype(np.float32)))
    axes = (rotations * Y_UP[:, None] * Y_UP[None, :]).astype(np.float32)
    heads = to_y_up(positions.astype(np.float32))
    unseen = character.unseen_limbs
    return PosedBody(mesh, heads, axes, character.texture, activations=activations, unseen_limbs=unseen)


def _read_poses(bodies: Sequence[BodyAt], left_out: LeftOut) -> _Poses:
    poses = _Poses()
    skeleton: tuple[tuple[str, ...], tuple[int, ...]] | None = None
    for body in bodies:
        left_out.seen += 1
        try:
            pose = read_pose(body.path)
        except ValueError as error:
            left_out.add(error)
            continue
        skeleton = skeleton or (pose.names, pose.parents)
        if (pose.names, pose.parents) != skeleton:
            left_out.add(f"{body.path} has another skeleton")
            continue
        poses.bodies.append(body)
        poses.translations.append(pose.translations.astype(np.float32))
        poses.rotations.append(pose.rotations.astype(np.float32))
        poses.activations.append(pose.activations)
        poses.unseen_limbs.append(frozenset(pose.unseen_limbs))
    return poses


def _by_suitability(translations: FloatArray, rotations: FloatArray) -> Iterator[int]:
    """Frames by how typical their shape is, then by straight limbs: bent joints make the inverse ill-conditioned."""
    bones = translations[:, 1:]
    if not bones.shape[1]:
        yield from range(len(bones) - 1, -1, -1)
        return
    difference_m = np.abs(bones - np.median(bones, axis=0)).max(axis=(1, 2))
    straightness = np.abs(rotations[:, 1:, 3]).min(axis=1)
    alike = difference_m <= difference_m.min() + _SAME_SHAPE_M
    order: IntArray = np.lexsort((-straightness * alike, difference_m * ~alike))
    yield from order.tolist()


def _relative_sizes(translations: FloatArray, chosen: LocalPose) -> FloatArray:
    """(N, 1) how much larger the chosen body is than that of each frame, by the length of all bones."""
    lengths_m = np.linalg.norm(translations[:, 1:], axis=2).sum(axis=1)
    chosen_m = np.linalg.norm(chosen.translations[1:], axis=1).sum()
    sizes = np.divide(chosen_m, lengths_m, out=np.ones_like(lengths_m), where=lengths_m > 0)
    return np.asarray(sizes[:, None], np.float32)


def _strictly_increasing(motion: Motion) -> Motion:
    """Without the frames whose time is that of the one before in the precision of the files."""
    kept = np.unique(motion.times_s.astype(np.float32), return_index=True)[1]
    legs_seen = None if motion.legs_seen is None else motion.legs_seen[kept]
    activations = None if motion.activations is None else motion.activations[kept]
    return Motion(motion.times_s[kept], motion.rotations[kept], motion.root_positions[kept], legs_seen, activations)


def _faces(activations: Sequence[FloatArray | None]) -> FloatArray | None:
    """(N, 52) of N bodies, of which some may have a neutral face; None if none has another."""
    known = next((each for each in activations if each is not None), None)
    if known is None:
        return None
    return np.stack([np.zeros_like(known) if each is None else each for each in activations])


def _latest_painted(bodies: Sequence[BodyAt], chosen: BodyFile) -> BodyFile:
    """The last body with colours for the chosen mesh: colours become more complete while a person is observed."""
    for candidate in reversed(bodies):
        try:
            body = read_body(candidate.path)
        except ValueError as error:
            logger.debug("%s", error)
        else:
            if body.mesh.colours is not None and np.array_equal(body.mesh.faces, chosen.mesh.faces):
                return body
    return chosen


def _character(
    identity: int, body: BodyFile, skeleton: Skeleton, painted: BodyFile, motion: Motion, kinds: Kinds
) -> Character:
    offsets = body.pose.translations.copy()
    offsets[0] = 0.0
    rest = unposed(body.mesh.vertices, body.pose, skeleton)
    if skeleton.face is not None and body.pose.activations is not None and body.pose.activations.any():
        # Of a face that moves, the mouth of the published body has teeth.
        rest[skeleton.face.vertices] -= skeleton.face.lining
    lowest = float(rest[:, 1].min())
    offsets[0, 1] = -lowest
    rest[:, 1] -= lowest
    mesh = SurfaceMesh(rest.astype(np.float32), body.mesh.faces, painted.mesh.colours)
    return Character(identity, skeleton, offsets, mesh, motion, painted.texture, kinds, body.pose.unseen_limbs)


def unposed(vertices: FloatArray, pose: LocalPose, skeleton: Skeleton) -> Float64Array:
    """(V, 3) posed vertices → (V, 3) in the rest pose with the root joint at the origin, metres."""
    rotations, positions = world_transforms(pose)
    offsets = pose.translations.copy()
    offsets[0] = 0.0
    rest = rest_positions(list(pose.parents), offsets)
    blended = blended_transforms(skeleton, rotations, positions, rest)
    return np.asarray(posing.unposed(vertices, blended), np.float64)


def world_transforms(pose: LocalPose) -> tuple[Float64Array, Float64Array]:
    """Rotations (J, 3, 3) and positions (J, 3) of the joints in the scene."""
    rotations, positions = joint_transforms(pose.rotations[None], list(pose.parents), pose.translations)
    return rotations[0], positions[0] + pose.translations[0]
