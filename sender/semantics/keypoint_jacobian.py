"""Keypoints of the bodies that label entries describe, and their derivatives, in closed form.

A keypoint is K = Σ_b (R_b o_b + w_b p_b) over the bones b (`common.body.model.KeypointKinematics`).  Turning bone a
about its head p_a by the small vector ω moves it by ω × m_a, with the moment

    m_a = Σ_{b at or below a} (R_b o_b + w_b p_b − w_b p_a)

A joint's rotation vector v turns its bone by ω = R_parent J(v) dv, where J is the left Jacobian of SO(3); a phalanx
turns about a fixed axis by its curl.  Rotation vectors and curls are affine in the entries, offsets and heads in the
shape.

Shapes: B people, E = 80 entries, K = 17 keypoints, S = 52 bones, J = 21 joints below the root, C = 3 J + 30 axes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.body.anatomy import JOINT_INDEX
from common.body.label_space import GROUP_JOINTS, LabelSpace, decode_orientation
from common.body.model import KeypointKinematics
from common.body.rotations import left_jacobian
from common.labels import LABEL_SIZE, group_slices
from sender.semantics.crop_labels import body_in_crop, translation_derivative
from sender.semantics.cvae import ENTRIES

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
_PELVIS = slice(_ORIENTATION.stop, _ROOT.stop)
_SHAPE = group_slices()["shape"]
# Of the six entries of the orientation, whose derivative is a difference.
_STEP = 1e-3


@dataclass(frozen=True, slots=True)
class KeypointDerivatives:
    """Keypoints and their derivatives by the entries.

    Args:
        keypoints: (B, K, 3) in the crop's camera space, metres.
        pelvis: (B, 3).
        from_pelvis: (B, K, 3, E) derivatives of keypoints − pelvis.
        pelvis_by_entries: (B, 3, E).
    """

    keypoints: Tensor
    pelvis: Tensor
    from_pelvis: Tensor
    pelvis_by_entries: Tensor


class KeypointJacobian:
    """Computes keypoints with their derivatives, for many people at once."""

    def __init__(self, space: LabelSpace, kinematics: KeypointKinematics) -> None:
        self._space, self._kinematics, body = space, kinematics, kinematics.body
        self._parents = torch.tensor([max(parent, 0) for parent in body.parents])
        self._below = _at_or_below(body.parents)
        self._weights_below = kinematics.keypoint_weights @ self._below.T
        joints = [JOINT_INDEX[name] for names in GROUP_JOINTS.values() for name in names]
        phalanges = range(len(JOINT_INDEX), len(body.parents))
        self._joints, self._phalanges = torch.tensor(joints), torch.tensor(list(phalanges))
        self._bones = torch.tensor([*(joint for joint in joints for _ in range(3)), *phalanges])
        self._axes_by_entries = self._derivative_of_axes()
        weights = kinematics.keypoint_weights[:, :, None]
        self._offset_by_shape = (kinematics.keypoint_rest - weights * body.rest_joints[:, None])[1:]
        lengths = body.rest_joints - body.rest_joints[:, self._parents]
        self._bone_by_shape = lengths[1:].contiguous()

    def __call__(self, entries: Tensor, focal: Tensor) -> KeypointDerivatives:
        """Of entries (B, E), with the focal lengths (B,) in crop widths."""
        bodies = body_in_crop(self._space, entries, focal)
        positions, rotations = self._kinematics.body.forward_kinematics(bodies)
        shares = self._kinematics.shares(bodies.shape, positions, rotations)
        above = rotations.index_select(1, self._parents)
        by_entries = entries.new_zeros(*shares.shape[:2], 3, ENTRIES)
        # (B, S, K, 3)
        below = (shares.transpose(2, 3) @ self._below.T).permute(0, 3, 1, 2)
        moments = below - self._weights_below.T[..., None] * positions[:, :, None]
        by_entries[..., _ORIENTATION] = _moved(_orientation_axes(entries), moments[:, :1])
        axes = self._axes(entries, above)
        by_entries += _moved(axes, moments.index_select(1, self._bones)) @ self._axes_by_entries
        by_entries[..., _SHAPE] = self._by_shape(rotations, above)
        pelvis = entries.new_zeros(len(entries), 3, ENTRIES)
        pelvis[..., _PELVIS] = translation_derivative(entries, focal)
        return KeypointDerivatives(shares.sum(2), bodies.translation, by_entries, pelvis)

    def _axes(self, entries: Tensor, above: Tensor) -> Tensor:
        """(B, C, 3) what each rotation vector's entries and each curl turn its bone about, in camera space."""
        vectors, _ = self._space.decode_vectors(entries)
        of_joints = above.index_select(1, self._joints) @ left_jacobian(vectors)
        of_phalanges = above.index_select(1, self._phalanges) @ self._kinematics.body.curl_axes[..., None]
        return torch.cat([of_joints.transpose(2, 3).flatten(1, 2), of_phalanges[..., 0]], 1)

    def _by_shape(self, rotations: Tensor, above: Tensor) -> Tensor:
        """(B, K, 3, 10)."""
        of_offsets = torch.einsum("bsij,cksj->bkic", rotations, self._offset_by_shape)
        of_bones = torch.einsum("ks,bsij,csj->bkic", self._weights_below, above, self._bone_by_shape)
        return of_offsets + of_bones

    def _derivative_of_axes(self) -> Tensor:
        """(C, E) of the rotation vectors' entries, then the phalanges' curls, which are affine in the entries."""
        variants = functional.pad(torch.cat([torch.zeros(1, ENTRIES), torch.eye(ENTRIES)]), (0, LABEL_SIZE - ENTRIES))
        vectors, curls = self._space.decode_vectors(variants)
        values = torch.cat([vectors.flatten(1), curls.index_select(1, self._kinematics.body.curl_of_phalanx)], 1)
        return (values[1:] - values[0]).T


def _moved(axes: Tensor, moments: Tensor) -> Tensor:
    """(B, K, 3, C) how keypoints move by turns about axes (B, C, 3), given the moments (B, C or 1, K, 3)."""
    moved: Tensor = torch.linalg.cross(*torch.broadcast_tensors(axes[:, :, None], moments))
    return moved.permute(0, 2, 3, 1)


def _orientation_axes(entries: Tensor) -> Tensor:
    """(B, 6, 3) what the entries of the root's orientation turn the body about."""
    root = entries[:, _ROOT]
    steps = functional.pad(_STEP * torch.eye(6), (0, root.shape[1] - 6))
    variants = root[:, None] + steps
    turned = decode_orientation(variants.flatten(0, 1)).unflatten(0, (-1, 6))
    turns = turned @ decode_orientation(root)[:, None].transpose(2, 3)
    skew = (turns - turns.transpose(2, 3)) / (2 * _STEP)
    return torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)


def _at_or_below(parents: list[int]) -> Tensor:
    """(S, S) 1 where the column's bone is the row's, or below it."""
    below = torch.eye(len(parents))
    for bone, parent in enumerate(parents):
        while parent >= 0:
            below[parent, bone] = 1.0
            parent = parents[parent]
    return below
