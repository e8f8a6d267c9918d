"""Animated GLB: the characters of a session with one animation, for Blender, Unity, Unreal and viewers.

The bind pose is the rest pose. The nodes have the pose of the first frame, which viewers without animation show.
Constant channels are left out, because their nodes have the value already. Specification: Khronos glTF 2.0, sections
3.7.3 (skins) and 3.11 (animations).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.frames import NEAR_M, Camera
from receiver.export.character import Character, Placement, View
from receiver.mesh.face_shapes import rounded_weights
from receiver.mesh.glb import GlbWriter, Node
from receiver.mesh.skinned_glb import add_skin, add_skinned_triangles, body_node, joint_nodes

# Largest change of a constant channel: of a quaternion's components, in metres, and of an activation.
_CONSTANT = {"rotation": 1e-6, "translation": 1e-5, "weights": 1e-4}


def encode_characters(characters: Sequence[Character], animation: str, view: View | None = None) -> bytes:
    """Encodes a GLB file (`characters`: at least one), with the camera if `view` says where it is."""
    writer = GlbWriter()
    nodes: list[Node] = []
    scene: list[int] = []
    meshes: list[Node] = []
    skins: list[Node] = []
    samplers: list[Node] = []
    channels: list[Node] = []
    last_s = max(float(character.motion.times_s[-1]) for character in characters)
    for character in characters:
        body, armature, root = range(len(nodes), len(nodes) + 3)
        scene += [body, armature]
        name = f"{character.name}-body"
        nodes.append(body_node(name, character.unseen_limbs, len(meshes)))
        # Blender makes one armature of all skeletons that have the same parent.
        nodes.append({"children": [root], "name": character.name})
        nodes += _joints(character, root)
        primitive = add_skinned_triangles(writer, character.bound_mesh, character.texture, character.skeleton)
        meshes.append({"name": name, "primitives": [primitive]})
        _add_face(writer, character, meshes[-1])
        rest = character.rest_positions.astype(np.float32)
        unrotated: FloatArray = np.tile(np.eye(3, dtype=np.float32), (len(rest), 1, 1))
        skins.append(add_skin(writer, f"{character.name}-skeleton", root, rest, unrotated))
        _add_channels(writer, character, body, root, samplers, channels)
        _add_visibility(writer, character.switches(last_s), armature, samplers, channels)
    document: Node = {"scenes": [{"nodes": scene}], "nodes": nodes, "meshes": meshes, "skins": skins}
    if view is not None:
        document["cameras"] = [_camera(view.lens)]
        scene.append(len(nodes))
        nodes.append({"camera": 0, "name": "camera", **_pose(view.placement)})
    if channels:  # glTF has no animation without channels
        document["animations"] = [{"name": animation, "samplers": samplers, "channels": channels}]
    return writer.to_bytes(document)


def _camera(lens: Camera) -> Node:
    fov_rad = 2 * math.atan(lens.height / (2 * lens.focal_px))
    perspective = {"aspectRatio": lens.width / lens.height, "yfov": fov_rad, "znear": NEAR_M}
    return {"type": "perspective", "name": "camera", "perspective": perspective}


def _pose(placement: Placement) -> Node:
    rotation = Rotation.from_matrix(placement.rotation).as_quat()
    return {"translation": placement.position.tolist(), "rotation": rotation.tolist()}


def _joints(character: Character, root: int) -> list[Node]:
    """The joints in the pose of the first frame."""
    translations = character.offsets.copy()
    translations[0] = character.motion.root_positions[0]
    return joint_nodes(character.skeleton, translations, character.motion.rotations[0], root)


def _add_face(writer: GlbWriter, character: Character, mesh: Node) -> None:
    """Appends the blend shapes to a mesh, in the expression of the first frame."""
    face, activations, texture = character.face, character.motion.activations, character.texture
    if face is not None and activations is not None:
        corners = None if texture is None else texture.corners
        normals = face.normal_offsets(character.bound_mesh)
        face.add_targets(writer, mesh, corners, POSITION=face.offsets, NORMAL=normals)
        mesh["weights"] = rounded_weights(activations[0])


def _add_channels(
    writer: GlbWriter, character: Character, body: int, root: int, samplers: list[Node], channels: list[Node]
) -> None:
    """Appends the channels that change, which share their times."""
    motion = character.motion
    rotations = [("rotation", root + joint, motion.rotations[:, joint]) for joint in range(len(character.offsets))]
    tracks = [*rotations, ("translation", root, motion.root_positions)]
    if character.face is not None and motion.activations is not None:
        tracks.append(("weights", body, motion.activations))
    kept = [track for track in tracks if np.ptp(track[2], axis=0).max() > _CONSTANT[track[0]]]
    if not kept:
        return
    times = writer.add_array(motion.times_s.astype(np.float32), bounds=True)
    for path, node, values in kept:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        # glTF has the weights of all shapes at a time, one after the other, as elements of their own.
        output = writer.add_array(values.ravel() if path == "weights" else values)
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})


def _add_visibility(
    writer: GlbWriter,
    switches: Sequence[tuple[float, bool]],
    armature: int,
    samplers: list[Node],
    channels: list[Node],
) -> None:
    """Appends a channel that scales a person to 0 while they are not there, which is how animations of glTF hide."""
    if switches:
        scales = np.repeat(np.array([shown for _, shown in switches], np.float32)[:, None], 3, axis=1)
        times = writer.add_array(np.array([time_s for time_s, _ in switches], np.float32), bounds=True)
        channels.append({"sampler": len(samplers), "target": {"node": armature, "path": "scale"}})
        samplers.append({"input": times, "output": writer.add_array(scales), "interpolation": "STEP"})
