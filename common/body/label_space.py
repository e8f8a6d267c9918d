"""Conversion between body parameters and semantic labels: one linear transform per group, from coarse to fine.

The rotation vectors of a group's joints are weighted by the displacement of the skin per radian and projected onto
their principal components over the training poses (the Karhunen-Loève transform, the optimal linear code for
truncation).  The first entries of a group therefore describe its coarse pose, any prefix can be decoded, and every
entry has unit variance.

Shapes: B people, R regions; labels in the order of `common.labels.group_slices`.
"""

from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.body.anatomy import JOINT_INDEX, LABEL_SPACE_FILE, REGIONS
from common.body.model import BodyParameters
from common.body.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from common.errors import WeightsError
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices

GROUP_JOINTS: dict[str, tuple[str, ...]] = {
    "torso": ("spine05", "spine04", "spine03", "spine02", "spine01"),
    "head": ("neck01", "head"),
    "left_arm": ("clavicle.L", "upperarm01.L", "lowerarm01.L"),
    "right_arm": ("clavicle.R", "upperarm01.R", "lowerarm01.R"),
    "left_leg": ("upperleg01.L", "lowerleg01.L", "foot.L"),
    "right_leg": ("upperleg01.R", "lowerleg01.R", "foot.R"),
    "hands": ("wrist.L", "wrist.R"),
}
"""The joints of each group; `hands` also has the four curls."""

TRANSLATION_MEAN = (0.0, 0.0, 1.2)
TRANSLATION_SCALE = (0.25, 0.25, 0.5)
"""Standardisation of the position in the root group: x/z, y/z, log z."""


class LabelSpace(nn.Module):
    """Encodes `BodyParameters` and region colours as labels; decodes complete or partial labels."""

    _joint_order: Tensor
    joint_place: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "_"), tensor, persistent=False)
        self._slices = group_slices()
        order = [JOINT_INDEX[joint] for joints in GROUP_JOINTS.values() for joint in joints]
        self._group_sizes = [len(joints) for joints in GROUP_JOINTS.values()]
        # The joints in the order of their groups, and the place of each joint behind the root in that order.
        self.register_buffer("_joint_order", torch.tensor(order), persistent=False)
        self.register_buffer("joint_place", torch.tensor([0, *order]).argsort(), persistent=False)

    @classmethod
    def load(cls) -> Self:
        """The label space of the package. Raises WeightsError if the file is missing or unreadable."""
        try:
            space = cls(load_file(LABEL_SPACE_FILE)).eval()
            # Shows that every tensor is there and has its shape.
            space.encode(space.decode(torch.zeros(1, LABEL_SIZE)), space.decode_colours(torch.zeros(1, LABEL_SIZE)))
            return space
        except (OSError, ValueError, SafetensorError, AttributeError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{LABEL_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error

    def encode(self, parameters: BodyParameters, colours: Tensor | None = None) -> Tensor:
        """(B, LABEL_SIZE) standardised entries; those of `surface` are zero, the mean.

        Args:
            parameters: bodies in camera space, in front of the camera (z > 0).
            colours: (B, R, 3) colours of the regions in 0…1; if None, `appearance` is zero, the mean.
        """
        labels = parameters.shape.new_zeros(len(parameters), LABEL_SIZE)
        labels[:, self._slices["root"]] = _encode_root(parameters)
        labels[:, self._slices["shape"]] = parameters.shape
        rotations = matrix_to_axis_angle(parameters.rotations.index_select(1, self._joint_order))
        for name, group in zip(GROUP_JOINTS, rotations.split(self._group_sizes, 1), strict=True):
            vector = _with_curls(name, group, parameters)
            labels[:, self._slices[name]] = self._project(name, vector)
        if colours is not None:
            labels[:, self._slices["appearance"]] = self.encode_colours(colours)
        return labels

    def encode_colours(self, colours: Tensor) -> Tensor:
        """(B, 24) entries of `appearance` of the colours (B, R, 3) of the regions in 0…1."""
        return self._project("appearance", colours.flatten(1))

    def decode(self, labels: Tensor) -> BodyParameters:
        """The bodies described by labels (B, LABEL_SIZE), in which missing entries are zero, the mean."""
        orientation, translation = decode_root(labels[:, self._slices["root"]])
        vectors, curl = self.decode_vectors(labels)
        rotations = torch.cat([orientation[:, None], axis_angle_to_matrix(vectors)], 1)
        shape = labels[:, self._slices["shape"]]
        return BodyParameters(rotations.index_select(1, self.joint_place), curl, shape, translation)

    def decode_vectors(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The rotation vectors (B, 21, 3) of the joints in the order of `GROUP_JOINTS`, and the curls (B, 4), radians.

        Both are affine in the labels (B, LABEL_SIZE or as many entries as the last of these groups needs).
        """
        lifted = torch.cat([self._lift(name, labels[:, self._slices[name]]) for name in GROUP_JOINTS], 1)
        curls = lifted.shape[1] - 3 * len(self._joint_order)
        # The curls are the last ones of the last group.
        return lifted[:, :-curls].unflatten(1, (-1, 3)), lifted[:, -curls:]

    def decode_colours(self, labels: Tensor) -> Tensor:
        """(B, R, 3) colours of the regions in 0…1."""
        colours = self._lift("appearance", labels[:, self._slices["appearance"]])
        return colours.reshape(len(labels), len(REGIONS), 3).clamp(0, 1)

    def _project(self, name: str, vector: Tensor) -> Tensor:
        mean: Tensor = getattr(self, f"{name}_mean")
        analysis: Tensor = getattr(self, f"{name}_analysis")
        return (vector - mean) @ analysis

    def _lift(self, name: str, entries: Tensor) -> Tensor:
        mean: Tensor = getattr(self, f"{name}_mean")
        synthesis: Tensor = getattr(self, f"{name}_synthesis")
        return mean + entries @ synthesis


def group_vector(parameters: BodyParameters, name: str) -> Tensor:
    """(B, D): the rotation vectors of a group's joints, concatenated, then for `hands` the curls, radians."""
    indices = [JOINT_INDEX[joint] for joint in GROUP_JOINTS[name]]
    return _with_curls(name, matrix_to_axis_angle(parameters.rotations[:, indices]), parameters)


def _with_curls(name: str, rotations: Tensor, parameters: BodyParameters) -> Tensor:
    """The rotation vectors (B, N, 3) of a group's joints as rows of one vector each, with the curls for `hands`."""
    vectors = rotations.flatten(1)
    return torch.cat([vectors, parameters.curl], dim=1) if name == "hands" else vectors


def _encode_root(parameters: BodyParameters) -> Tensor:
    x, y, z = parameters.translation.unbind(-1)
    position = torch.stack([x / z, y / z, z.log()], dim=-1)
    position = (position - position.new_tensor(TRANSLATION_MEAN)) / position.new_tensor(TRANSLATION_SCALE)
    return torch.cat([matrix_to_rotation_6d(parameters.rotations[:, 0]) / ROTATION_SCALE, position], dim=-1)


def decode_orientation(entries: Tensor) -> Tensor:
    """The orientations (B, 3, 3) in the root entries (B, 9): upright and facing the camera where they are missing."""
    columns = entries[:, :6] * ROTATION_SCALE
    absent = columns.abs().sum(-1, keepdim=True) < 1e-6
    upright = torch.eye(3, dtype=columns.dtype, device=columns.device)[:2].flatten()
    return rotation_6d_to_matrix(torch.where(absent, upright, columns))


def decode_root(entries: Tensor) -> tuple[Tensor, Tensor]:
    """The orientations (B, 3, 3) and positions (B, 3), metres, in the root entries (B, 9)."""
    columns = zip(entries[:, 6:].unbind(1), TRANSLATION_SCALE, TRANSLATION_MEAN, strict=True)
    x, y, log_depth = (column * scale + mean for column, scale, mean in columns)
    depth = log_depth.clamp(-3.0, 6.0).exp()
    return decode_orientation(entries), torch.stack([x * depth, y * depth, depth], dim=-1)
