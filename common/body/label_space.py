"""Conversion between body parameters and semantic labels: one linear transform per group, from coarse to fine.

The rotation vectors of a group's joints are weighted by the displacement of the skin per radian and projected onto
their principal components over the training poses (the Karhunen-Loève transform, the optimal linear code for
truncation).  The first entries of a group therefore describe its coarse pose, any prefix can be decoded, and every
entry has unit variance.  The fingers of a hand are added to what its curls give.

Shapes: B people, R regions; labels in the order of `common.labels.group_slices`.
"""

from dataclasses import dataclass
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from common.body.anatomy import (
    FINGER_BONES,
    JOINT_INDEX,
    LABEL_SPACE_FILE,
    MIRROR_TURN_SIGNS,
    REGIONS,
    SURFACE_SPACE_FILE,
)
from common.body.faces import load_expression_tensors
from common.body.model import (
    BodyModel,
    BodyParameters,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from common.errors import WeightsError
from common.labels import GROUP_BY_NAME, LABEL_SIZE, ROTATION_SCALE, group_slices

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

_POSE = slice(group_slices()[next(iter(GROUP_JOINTS))].start, group_slices()["hands"].stop)
_OF_COLOURS = ("appearance_mean", "appearance_analysis", "appearance_synthesis")


class LabelSpace(nn.Module):
    """Encodes `BodyParameters` and region colours as labels; decodes complete or partial labels."""

    appearance_mean: Tensor
    appearance_analysis: Tensor
    appearance_synthesis: Tensor
    _pose_mean: Tensor
    _pose_analysis: Tensor
    _pose_synthesis: Tensor
    _joint_order: Tensor
    joint_place: Tensor
    _fingers_analysis: Tensor
    _fingers_synthesis: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        # The groups of joints are transformed as one; in each row or column are those of a single group.
        buffers = {name: tensors[name.replace("_", ".")] for name in _OF_COLOURS}
        buffers["_pose_mean"] = torch.cat([tensors[f"{name}.mean"] for name in GROUP_JOINTS])
        for matrix in ("analysis", "synthesis"):
            buffers[f"_pose_{matrix}"] = torch.block_diag(*(tensors[f"{name}.{matrix}"] for name in GROUP_JOINTS))
        for name in ("fingers.analysis", "fingers.synthesis"):
            buffers[f"_{name.replace('.', '_')}"] = tensors[name]
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self._slices = group_slices()
        order = [JOINT_INDEX[joint] for joints in GROUP_JOINTS.values() for joint in joints]
        # The joints in the order of their groups, and the place of each joint behind the root in that order.
        self.register_buffer("_joint_order", torch.tensor(order), persistent=False)
        self.register_buffer("joint_place", torch.tensor([0, *order]).argsort(), persistent=False)

    @classmethod
    def load(cls) -> Self:
        """The label space of the package. Raises WeightsError if the file is missing or unreadable."""
        try:
            space = cls(load_file(LABEL_SPACE_FILE) | load_expression_tensors()).eval()
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
        entries = [_encode_root(parameters), parameters.shape, self.encode_pose(parameters.rotations, parameters.curl)]
        if colours is not None:
            entries.append(self.encode_colours(colours))
        labels = torch.cat(entries, 1)
        return F.pad(labels, (0, LABEL_SIZE - labels.shape[1]))

    def encode_pose(self, rotations: Tensor, curl: Tensor) -> Tensor:
        """(B, 61) entries of the groups of joints, of local rotations (B, 22, 3, 3) and curls (B, 4), radians."""
        vectors = matrix_to_axis_angle(rotations.index_select(1, self._joint_order))
        return (torch.cat([vectors.flatten(1), curl], 1) - self._pose_mean) @ self._pose_analysis

    def encode_colours(self, colours: Tensor) -> Tensor:
        """(B, 24) entries of `appearance` of the colours (B, R, 3) of the regions in 0…1."""
        return (colours.flatten(1) - self.appearance_mean) @ self.appearance_analysis

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
        lifted = torch.addmm(self._pose_mean, labels[:, _POSE], self._pose_synthesis)
        curls = lifted.shape[1] - 3 * len(self._joint_order)
        # The curls are the last ones of the last group.
        return lifted[:, :-curls].unflatten(1, (-1, 3)), lifted[:, -curls:]

    def encode_fingers(self, vectors: Tensor, body: BodyModel) -> tuple[Tensor, Tensor]:
        """Curls (B, 4), and the entries (B, 16) of the left and the right fingers beyond them.

        Args:
            vectors: (B, 30, 3) rotation vectors of the phalanges in the order of `FINGER_BONES`.
        """
        curls, entries = [], []
        for hand, mirror in zip(vectors.chunk(2, 1), ((1.0, 1.0, 1.0), MIRROR_TURN_SIGNS), strict=True):
            as_left, axes = hand * hand.new_tensor(mirror), body.curl_axes[: hand.shape[1]]
            curls.append(curls_of(as_left, axes))
            even = curls[-1].index_select(1, body.curl_of_phalanx[: hand.shape[1]])
            entries.append((as_left - even[..., None] * axes).flatten(1) @ self._fingers_analysis)
        return torch.cat(curls, 1), torch.cat(entries, 1)

    def rotation_vectors(self, body: BodyModel) -> tuple[Tensor, Tensor]:
        """Those of all bones below the root, (51 · 3,) of the mean and (LABEL_SIZE, 51 · 3) by the labels."""
        labels = torch.eye(LABEL_SIZE, device=self._pose_mean.device)
        joints, curls = self.decode_vectors(torch.cat([torch.zeros_like(labels[:1]), labels]))
        phalanges = curls.index_select(1, body.curl_of_phalanx)[..., None] * body.curl_axes
        phalanges = phalanges + torch.cat([phalanges.new_zeros(1, len(FINGER_BONES), 3), self._fingers()])
        rows = torch.cat([joints.index_select(1, self.joint_place[1:] - 1), phalanges], 1).flatten(1)
        return rows[0], rows[1:] - rows[0]

    def _fingers(self) -> Tensor:
        """(LABEL_SIZE, 30, 3) of the phalanges beyond their curls, by the labels."""
        half = self._fingers_synthesis.shape[1] // 3
        one = self._fingers_synthesis.reshape(-1, half, 3)
        rows = one.new_zeros(LABEL_SIZE, 2 * half, 3)
        rows[self._slices["left_fingers"], :half] = one
        rows[self._slices["right_fingers"], half:] = one * one.new_tensor(MIRROR_TURN_SIGNS)
        return rows

    def decode_colours(self, labels: Tensor) -> Tensor:
        """(B, R, 3) colours of the regions in 0…1."""
        entries = labels[:, self._slices["appearance"]]
        colours = torch.addmm(self.appearance_mean, entries, self.appearance_synthesis)
        return colours.reshape(len(labels), len(REGIONS), 3).clamp(0, 1)


def curls_of(vectors: Tensor, axes: Tensor) -> Tensor:
    """(B, 2) curls of fingers and thumb that are nearest to rotation vectors (B, 15, 3) of a hand's phalanges.

    Args:
        axes: (15, 3) that flex the phalanges; the first three are the thumb's.
    """
    flexion = (vectors * axes).sum(-1)
    return torch.stack([flexion[:, 3:].mean(1), flexion[:, :3].mean(1)], 1)


def group_vector(parameters: BodyParameters, name: str) -> Tensor:
    """(B, D): the rotation vectors of a group's joints, concatenated, then for `hands` the curls, radians."""
    indices = [JOINT_INDEX[joint] for joint in GROUP_JOINTS[name]]
    vectors = matrix_to_axis_angle(parameters.rotations[:, indices]).flatten(1)
    return torch.cat([vectors, parameters.curl], dim=1) if name == "hands" else vectors


def _encode_root(parameters: BodyParameters) -> Tensor:
    x, y, z = parameters.translation.unbind(-1)
    position = zip((x / z, y / z, z.log()), TRANSLATION_MEAN, TRANSLATION_SCALE, strict=True)
    columns = torch.stack([(value - mean) / scale for value, mean, scale in position], dim=-1)
    return torch.cat([matrix_to_rotation_6d(parameters.rotations[:, 0]) / ROTATION_SCALE, columns], dim=-1)


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


@dataclass(frozen=True, eq=False)
class SurfaceSpace:
    """The label group `surface`: what people wear, as displacements of the template (V' = 13,348), from coarse to fine.

    A field moves each vertex of the template (`common.body.template`) from the skin to the outermost layer of clothes
    and hair, in the rest pose.  Fields are projected onto their principal components over sampled outfits, in a metric
    that weighs a vertex by its area.  Every entry has unit variance, and zero is the average of what people wear.

    No sender sends the group any more.  The average remains, and the importance table has what an entry moves.

    Args:
        mean: (V', 3) average displacement, metres.
        basis: (24, V', 3) displacement per standard deviation of each entry, metres.
    """

    mean: Tensor
    basis: Tensor

    @classmethod
    def load(cls) -> Self:
        """The surface space of the package. Raises WeightsError if the file is missing or unreadable."""
        try:
            stored = load_file(SURFACE_SPACE_FILE)
            mean, basis = stored["mean"].float(), stored["basis"].float()
            if basis.shape != (GROUP_BY_NAME["surface"].size, *mean.shape):
                raise ValueError(f"shapes {tuple(mean.shape)}, {tuple(basis.shape)}")
            return cls(mean, basis)
        except (OSError, ValueError, SafetensorError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{SURFACE_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error

    def decode(self, surface: Tensor) -> Tensor:
        """(B, V', 3) displacements in metres of entries (B, 24)."""
        return self.mean + (surface @ self.basis.flatten(1)).reshape(len(surface), *self.mean.shape)
