"""Rotations as matrices, axis-angle vectors and the continuous 6D representation (Zhou et al. 2019), in torch."""

import torch
from torch import Tensor
from torch.nn import functional as F

_MIN_SINE = 1e-4


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """(..., 3) axis times angle in radians → (..., 3, 3), by Rodrigues' formula."""
    angle = axis_angle.square().sum(-1, keepdim=True).clamp_min(1e-16).sqrt()
    cross = cross_matrix(axis_angle / angle)
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    identity = torch.eye(3, dtype=cross.dtype, device=cross.device)
    matrix: Tensor = identity + sine * cross + (1 - cosine) * (cross @ cross)
    return matrix


def cross_matrix(vector: Tensor) -> Tensor:
    """(..., 3) a → (..., 3, 3), which multiplies as a × does."""
    zero = torch.zeros_like(vector[..., 0])
    x, y, z = vector.unbind(-1)
    entries = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return entries.reshape(*vector.shape[:-1], 3, 3)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """(..., 3, 3) → (..., 4) unit quaternion (w, x, y, z), w ≥ 0, by the best conditioned of four formulas."""
    m00, m11, m22 = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 2, 2]
    m01, m02, m12 = matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2]
    m10, m20, m21 = matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1]
    w, x, y, z = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    candidates = torch.stack(
        [
            torch.stack([w, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, x, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, y, m12 + m21], -1),
            torch.stack([m10 - m01, m20 + m02, m21 + m12, z], -1),
        ],
        dim=-2,
    )
    best = torch.stack([w, x, y, z], -1).argmax(-1)
    chosen = torch.gather(candidates, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = F.normalize(chosen, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """(..., 3, 3) → (..., 3) axis times angle, angle in [0, π]."""
    quaternion = matrix_to_quaternion(matrix)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    scale = torch.where(sine < _MIN_SINE, torch.full_like(sine, 2.0), angle / sine.clamp_min(_MIN_SINE))
    return quaternion[..., 1:] * scale


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """(..., 6) first two columns, concatenated, not necessarily orthonormal → (..., 3, 3) by Gram-Schmidt."""
    first = F.normalize(rotation_6d[..., :3], dim=-1)
    second = rotation_6d[..., 3:] - (first * rotation_6d[..., 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) → (..., 6): the first two columns, concatenated."""
    return matrix[..., :, :2].transpose(-1, -2).flatten(-2)
