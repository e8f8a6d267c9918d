"""From labels to posed people in one piece, so that on a GPU it is one graph: bones, keypoints, template, surface.

Shapes: B people, E entries of labels, S = 52 bones, V' vertices of the template, L of them on the legs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from common.body.label_space import LabelSpace, decode_root
from common.body.model import KeypointKinematics, axis_angle_to_matrix
from common.labels import LABEL_SIZE, group_slices
from common.weights.devices import CPU, device_of
from common.weights.inference import NetworkInUse, in_use
from receiver.body.skinning import TemplateSkinning
from receiver.surface.binding import SurfaceCarrying


class BonesNetwork(nn.Module):
    """Poses skeletons.

    Args:
        kinematics: of the body, on the device of the labels' space.
    """

    base: Tensor
    directions: Tensor

    def __init__(self, labels: LabelSpace, kinematics: KeypointKinematics) -> None:
        super().__init__()
        self.labels, self.kinematics = labels, kinematics
        base, directions = labels.rotation_vectors(kinematics.body)
        self.register_buffer("base", base, persistent=False)
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, labels_BE: Tensor) -> tuple[Tensor, ...]:
        """Heads of bones (B, S, 3) and their rotations (B, S, 3, 3), COCO keypoints (B, 17, 3), all in camera space.

        Behind them colours of the regions (B, R, 3); from labels in which missing entries are zero.
        """
        slices = group_slices()
        orientation, translation = decode_root(labels_BE[:, slices["root"]])
        # Affine in the labels: one product in place of one for each group and one for the fingers.
        vectors = torch.addmm(self.base, labels_BE, self.directions).reshape(len(labels_BE), -1, 3)
        local = torch.cat([orientation[:, None], axis_angle_to_matrix(vectors)], 1)
        shape = labels_BE[:, slices["shape"]]
        positions, rotations = self.kinematics.body.chained(local, shape, translation)
        keypoints = self.kinematics.keypoints(shape, positions, rotations)
        return positions, rotations, keypoints, self.labels.decode_colours(labels_BE)


class PeopleNetwork(nn.Module):
    """Poses people.

    Args:
        bones: a `BonesNetwork`, maybe in use.
        surface: of the mesh that all people have in common.
    """

    def __init__(
        self,
        bones: Callable[[Tensor], tuple[Tensor, ...]],
        skinning: TemplateSkinning,
        surface: SurfaceCarrying,
    ) -> None:
        super().__init__()
        self.bones, self.skinning, self.surface = bones, skinning, surface

    @classmethod
    def in_use(cls, bones: BonesNetwork, skinning: TemplateSkinning, surface: SurfaceCarrying) -> NetworkInUse:
        """On the device of its parts.

        Of the CPU, OpenVINO takes the many small products of bones; sparse ones are faster for all people at once.
        """
        device = device_of(bones)
        small = in_use(bones, [torch.zeros(1, LABEL_SIZE)], "bones") if device == CPU else bones
        return NetworkInUse(cls(small, skinning, surface).eval(), "float32", device, name="people")

    def forward(
        self, labels_BE: Tensor, displacement: Tensor, shares: Tensor, activations: Tensor
    ) -> tuple[Tensor, ...]:
        """Templates (B, V', 3) in camera space, what `BonesNetwork` has, and surfaces (B, N, 3).

        Args:
            labels_BE: (B, E), in which missing entries are zero.
            displacement, shares, activations: as for `TemplateSkinning`.
        """
        positions, rotations, *others = self.bones(labels_BE)
        shape = labels_BE[:, group_slices()["shape"]]
        vertices = self.skinning(shape, positions, rotations, displacement, shares, activations)
        return vertices, positions, rotations, *others, self.surface(vertices, rotations)
