"""What the motion network reads: a person's labels of the last seconds, seen by who they are now.

Everything is relative to the newest labels: positions to the pelvis, axes to the heading, which is the direction of the
hips on the ground.  So a prediction does not depend on where before the camera somebody moves.

The labels come at any rate.  Each of three windows (paper eq. 24, r_k) takes the ones nearest to eight regular times.

Shapes: B people, N labels of each, K = 24 tokens, P = 61 entries of the pose, C = 67 numbers of a change, F = 69 of a
token.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from common.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_rotation_6d
from common.labels import group_slices
from common.tensor_rows import TensorRows

WINDOWS_S: Final = (0.25, 1.0, 4.0)
"""Lengths of the windows."""
WINDOW_TOKENS: Final = 8
TOKENS: Final = len(WINDOWS_S) * WINDOW_TOKENS
POSE: Final = slice(group_slices()["torso"].start, group_slices()["hands"].stop)
POSE_SIZE: Final = POSE.stop - POSE.start
NEWEST_SIZE: Final = POSE_SIZE + 6
"""Numbers of the newest labels: pose and orientation."""
CHANGE_SIZE: Final = POSE_SIZE + 6
"""C, numbers of a change: entries of the pose, then a rotation vector and a displacement in the heading's axes."""
TOKEN_SIZE: Final = CHANGE_SIZE + 2
"""F, numbers of a token: the change from the newest labels to its own, and how old those are."""

_TIMES_S: Final = tuple(window * token / WINDOW_TOKENS for window in WINDOWS_S for token in range(WINDOW_TOKENS))
_LEAST_AGE_S = 0.02
_TINY = 1e-12
_TURN, _PLACE = slice(POSE_SIZE, POSE_SIZE + 3), slice(POSE_SIZE + 3, CHANGE_SIZE)


@dataclass(frozen=True, slots=True)
class Poses(TensorRows):
    """Poses in camera space.

    Args:
        entries: (…, P) of the labels.
        orientation: (…, 3, 3) of the pelvis.
        position: (…, 3) of the pelvis, metres.
    """

    entries: Tensor
    orientation: Tensor
    position: Tensor


def chosen_labels(ages_s: Tensor) -> tuple[Tensor, Tensor]:
    """For each token the label (B, K) nearest to its time, and whether (B, K) that is near and new in its window.

    Args:
        ages_s: (B, N) of the labels, the newest first; infinite where there is none.
    """
    times = ages_s.new_tensor(_TIMES_S)
    apart = (ages_s[:, None] - times[:, None]).abs()
    distance, label = apart.min(2)
    spacing = ages_s.new_tensor(WINDOWS_S).repeat_interleave(WINDOW_TOKENS) / WINDOW_TOKENS
    by_window = label.unflatten(1, (-1, WINDOW_TOKENS))
    repeated = torch.nn.functional.pad(by_window[..., 1:] == by_window[..., :-1], (1, 0)).flatten(1)
    return label, (distance <= spacing) & ~repeated


def heading(orientation: Tensor) -> Tensor:
    """(B, 3, 3) rotations about the vertical that turn the line between the hips of (B, 3, 3) into the x-axis."""
    left = orientation[:, ::2, 0]
    cosine, sine = (left / left.square().sum(1, keepdim=True).clamp_min(_TINY).sqrt()).unbind(1)
    zero, one = torch.zeros_like(sine), torch.ones_like(sine)
    rows = torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], 1)
    return rows.reshape(-1, 3, 3)


def tokens(chosen: Poses, ages_s: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B, K, F), and the numbers (B, NEWEST_SIZE) of the newest labels, which are the first ones.

    Args:
        chosen: (B, K) poses.
        ages_s: (B, K).
    """
    turn = heading(chosen.orientation[:, 0])[:, None]
    turned = turn @ chosen.orientation
    changes = (
        chosen.entries - chosen.entries[:, :1],
        matrix_to_axis_angle(turned @ turned[:, :1].mT),
        (turn @ (chosen.position - chosen.position[:, :1])[..., None])[..., 0],
        ages_s[..., None],
        (ages_s[..., None] + _LEAST_AGE_S).log(),
    )
    return torch.cat(changes, 2), torch.cat([chosen.entries[:, 0], matrix_to_rotation_6d(turned[:, 0])], 1)


def after_change(newest: Poses, change: Tensor) -> Poses:
    """Poses (B,) after a change (B, C)."""
    turn = heading(newest.orientation)
    rotation = axis_angle_to_matrix(change[:, _TURN])
    return Poses(
        newest.entries + change[:, :POSE_SIZE],
        turn.transpose(1, 2) @ rotation @ turn @ newest.orientation,
        newest.position + (turn.transpose(1, 2) @ change[:, _PLACE, None])[..., 0],
    )
