"""From the body's parameters to semantic labels and back: a linear transform a group, ordered from coarse to fine.

Each group of joints is taken as rotation vectors, weighted by how far the skin moves when the joint turns, and rotated
into its principal axes over the training poses (the Karhunen-Loève transform, which no other linear code beats when it
is cut short).  So the first entries of a group hold its coarse pose, any prefix decodes, and an entry has unit
variance, whatever it drives.

Shapes: B people, R regions; 104 entries as `common.labels.group_slices` lays them out.
"""

from typing import Self

import torch
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
from common.labels import LABEL_SIZE, group_slices

GROUP_JOINTS: dict[str, tuple[str, ...]] = {
    "torso": ("spine05", "spine04", "spine03", "spine02", "spine01"),
    "head": ("neck01", "head"),
    "left_arm": ("clavicle.L", "upperarm01.L", "lowerarm01.L"),
    "right_arm": ("clavicle.R", "upperarm01.R", "lowerarm01.R"),
    "left_leg": ("upperleg01.L", "lowerleg01.L", "foot.L"),
    "right_leg": ("upperleg01.R", "lowerleg01.R", "foot.R"),
    "hands": ("wrist.L", "wrist.R"),
}
"""Which joints a group turns; `hands` holds the four curls besides."""

ROTATION_SCALE = 0.6
TRANSLATION_MEAN = (0.0, 0.0, 1.2)
TRANSLATION_SCALE = (0.25, 0.25, 0.5)
"""Root: the rotation's columns have a deviation of about 0.6; x/z, y/z and log z of people before a camera."""


class LabelSpace(nn.Module):
    """Encodes `BodyParameters` and region colours as labels and decodes labels, or what arrived of them."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "_"), tensor, persistent=False)
        self._slices = group_slices()

    @classmethod
    def load(cls) -> Self:
        """The space that ships with the package.

        Raises:
            WeightsError: the file is missing or unreadable.
        """
        try:
            return cls(load_file(LABEL_SPACE_FILE)).eval()
        except (OSError, ValueError) as error:
            raise WeightsError(f"{LABEL_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error

    def encode(self, parameters: BodyParameters, colours: Tensor | None = None) -> Tensor:
        """(B, 104) standardised entries.

        Args:
            parameters: bodies in camera space, in front of the camera (z > 0).
            colours: (B, R, 3) colours of the regions in 0…1; without them `appearance` is zero, the mean.
        """
        labels = parameters.shape.new_zeros(len(parameters), LABEL_SIZE)
        labels[:, self._slices["root"]] = _encode_root(parameters)
        labels[:, self._slices["shape"]] = parameters.shape
        for name in GROUP_JOINTS:
            labels[:, self._slices[name]] = self._project(name, group_vector(parameters, name))
        if colours is not None:
            labels[:, self._slices["appearance"]] = self._project("appearance", colours.flatten(1))
        return labels

    def decode(self, labels: Tensor) -> BodyParameters:
        """The body that labels (B, 104) describe; entries that did not arrive are zero, which is the mean."""
        orientation, translation = _decode_root(labels[:, self._slices["root"]])
        rotations = torch.eye(3, dtype=labels.dtype, device=labels.device).expand(len(labels), 22, 3, 3).clone()
        rotations[:, 0] = orientation
        curl = labels.new_zeros(len(labels), 4)
        for name, joints in GROUP_JOINTS.items():
            vector = self._lift(name, labels[:, self._slices[name]])
            turned = 3 * len(joints)
            where = [JOINT_INDEX[joint] for joint in joints]
            rotations[:, where] = axis_angle_to_matrix(vector[:, :turned].reshape(len(labels), -1, 3))
            if name == "hands":
                curl = vector[:, turned:]
        return BodyParameters(rotations, curl, labels[:, self._slices["shape"]], translation)

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
    """(B, D): the rotation vectors of a group's joints one after the other, and for `hands` the curls, radians."""
    where = [JOINT_INDEX[joint] for joint in GROUP_JOINTS[name]]
    vectors = matrix_to_axis_angle(parameters.rotations[:, where]).flatten(1)
    return torch.cat([vectors, parameters.curl], dim=1) if name == "hands" else vectors


def _encode_root(parameters: BodyParameters) -> Tensor:
    x, y, z = parameters.translation.unbind(-1)
    place = torch.stack([x / z, y / z, z.log()], dim=-1)
    place = (place - place.new_tensor(TRANSLATION_MEAN)) / place.new_tensor(TRANSLATION_SCALE)
    return torch.cat([matrix_to_rotation_6d(parameters.rotations[:, 0]) / ROTATION_SCALE, place], dim=-1)


def _decode_root(entries: Tensor) -> tuple[Tensor, Tensor]:
    columns = entries[:, :6] * ROTATION_SCALE
    # An orientation that did not arrive is upright and facing the camera, not the zero matrix.
    absent = columns.abs().sum(-1, keepdim=True) < 1e-6
    upright = columns.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    place = entries[:, 6:] * entries.new_tensor(TRANSLATION_SCALE) + entries.new_tensor(TRANSLATION_MEAN)
    depth = place[:, 2:].clamp(-3.0, 6.0).exp()
    translation = torch.cat([place[:, :2] * depth, depth], dim=-1)
    return rotation_6d_to_matrix(torch.where(absent, upright, columns)), translation
