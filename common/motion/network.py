"""The motion network: what it reads of a person's last seconds, its layers, and the predictor that it makes.

Everything is relative to the newest labels: positions to the pelvis, axes to the heading, which is the direction of the
hips on the ground.  So a prediction does not depend on where before the camera somebody moves.

The labels come at any rate.  Each of three windows (paper eq. 24, r_k) takes the ones nearest to eight regular times.

Shapes: B people, N labels of each, K = 24 tokens, P = 61 entries of the pose, C = 67 numbers of a change, F = 69 of a
token.

The motion network: what somebody does next, from the labels of the last seconds.

Parallel ViTs (paper eq. 24) read a window each, u = Σ_k ω_k ViT_k(Rescale(s, r_k)).  A recurrent decoder (22),
s_i = f_i(h_{i−1}, t), h_i = RNN(h_{i−1}, s_i), unfolds the pose at time t from the coarse to the fine: the place, the
trunk, legs, arms, the hands.

Most of it is a weighted sum of the changes that were seen, with weights for each part of the body that depend on u:
averaging, extrapolation and whatever lies between.  The decoder adds what the past alone does not say.

Shapes: B people, K = 24 tokens, C = 67 numbers of a change, S of the state.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.arrays import FloatArray
from common.body.label_space import decode_root
from common.body.model import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_rotation_6d
from common.labels import group_slices
from common.motion.label_track import LabelTrack
from common.motion.steps import root_entries
from common.tensor_rows import TensorRows
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from common.weights.transformer import Block

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


WEIGHTS_NAME, KIND = "motion", "motion-2"
# What the decoder unfolds, one after the other: numbers of the change.
_ENTRIES = {
    name: range(where.start - POSE.start, where.stop - POSE.start)
    for name, where in group_slices().items()
    if POSE.start <= where.start < POSE.stop
}
_LEVELS = (
    tuple(range(POSE_SIZE, CHANGE_SIZE)),
    *(
        tuple(entry for name in names for entry in _ENTRIES[name])
        for names in (("torso", "head"), ("left_leg", "right_leg"), ("left_arm", "right_arm"), ("hands",))
    ),
)
_ORDER = torch.tensor([number for level in _LEVELS for number in level]).argsort().tolist()
# The parts of the body whose changes have weights of their own: the groups, orientation, place on the ground, height.
_PART_SIZES = (*map(len, _ENTRIES.values()), 3, 1, 1, 1)
_PART_OF_NUMBER = [part for part, size in enumerate(_PART_SIZES) for _ in range(size)]
_BASIS = 6
# Of them, those that weigh what was seen.
_WEIGHING = 4
_MASKED = -1e4


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """Sizes."""

    width: int = 96
    heads: int = 4
    depth: int = 2
    state: int = 256


class WindowViT(nn.Module):
    """One ViT_k: tokens (B, 8, F) of a window → (B, W)."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(TOKEN_SIZE, config.width)
        self.newest = nn.Linear(NEWEST_SIZE, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, newest: Tensor, counts: Tensor) -> Tensor:
        """Of tokens, the numbers (B, NEWEST_SIZE) of the newest labels, and 1 for each (B, 8) that counts, else 0."""
        x = torch.cat([self.newest(newest)[:, None], self.enter(tokens)], 1)
        mask = F.pad(_MASKED * (1 - counts), (1, 0))[:, None, None].expand(-1, -1, x.shape[1], -1)
        for block in self.blocks:
            x = block(x, mask)
        first: Tensor = self.norm(x[:, 0])
        return first


class ContextNetwork(nn.Module):
    """Reads tokens (B, K, F), newest (B, NEWEST_SIZE) and counts (B, K).

    It gives the state h_0 (B, S) that the decoder begins with, and the weighted changes (B, 4, C) by functions of time.
    """

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        everything = TOKENS * TOKEN_SIZE + NEWEST_SIZE
        self.vits = nn.ModuleList(WindowViT(config) for _ in WINDOWS_S)
        self.shares = nn.Linear(NEWEST_SIZE + TOKENS, len(WINDOWS_S))
        self.leave = nn.Linear(len(WINDOWS_S) * config.width, config.state)
        self.direct = nn.Linear(everything, config.state)
        self.norm = nn.LayerNorm(config.state)
        self.weights = _perceptron(config.state, 128, _WEIGHING * len(_PART_SIZES) * TOKENS)

    def forward(self, tokens: Tensor, newest: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        known = tokens * counts[..., None]
        everything = torch.cat([known.flatten(1), newest], 1)
        u = self.norm(self._windows(known, newest, counts) + self.direct(everything))
        weights = self.weights(u).unflatten(1, (_WEIGHING, len(_PART_SIZES), TOKENS))
        changes = known[..., :CHANGE_SIZE].transpose(1, 2)[:, None]
        return u, (weights[:, :, _PART_OF_NUMBER] * changes).sum(3)

    def _windows(self, tokens: Tensor, newest: Tensor, counts: Tensor) -> Tensor:
        shares = self.shares(torch.cat([newest, counts], 1)).softmax(1)
        windows = [slice(first, first + WINDOW_TOKENS) for first in range(0, TOKENS, WINDOW_TOKENS)]
        read = [
            share[:, None] * vit(tokens[:, window], newest, counts[:, window])
            for share, vit, window in zip(shares.unbind(1), self.vits, windows, strict=True)
        ]
        u: Tensor = self.leave(torch.cat(read, 1))
        return u


class UnfoldingNetwork(nn.Module):
    """Unfolds what `ContextNetwork` has read at a time (B, 1) after the newest labels, seconds: the change (B, C)."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        size = config.state
        self.enter = nn.Linear(size + _BASIS, size)
        self.cells = nn.ModuleList(nn.GRUCell(len(level) + _BASIS, size) for level in _LEVELS[:-1])
        self.levels = nn.ModuleList(_perceptron(size, 128, len(level)) for level in _LEVELS)

    def forward(self, state: Tensor, seen: Tensor, after_s: Tensor) -> tuple[Tensor]:
        basis = _basis(after_s)
        change = (seen * basis[:, :_WEIGHING, None]).sum(1)
        h, parts = F.silu(self.enter(torch.cat([state, basis], 1))), []
        for number, level in enumerate(self.levels):
            parts.append(level(h))
            if number < len(self.cells):
                h = self.cells[number](torch.cat([parts[-1], basis], 1), h)
        return (change + torch.cat(parts, 1)[:, _ORDER],)


def _perceptron(*sizes: int) -> nn.Sequential:
    """Layers of these sizes; the last one begins with zeros."""
    hidden = [part for ends in pairwise(sizes[:-1]) for part in (nn.Linear(*ends), nn.SiLU())]
    return nn.Sequential(*hidden, _unmoved(nn.Linear(sizes[-2], sizes[-1])))


def _unmoved(layer: nn.Linear) -> nn.Linear:
    """A layer that gives zeros until it is trained: nobody moves."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _basis(after_s: Tensor) -> Tensor:
    """(B, 6) functions of the time (B, 1)."""
    near = 1 - torch.exp(-after_s / 0.15)
    far = 1 - torch.exp(-after_s / 0.5)
    return torch.cat([torch.ones_like(after_s), near, far, 2 * after_s, near * near, near * far], 1)


class MotionNetwork(nn.Module):
    """Both halves, as they are trained and stored."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        self.context, self.unfolding = ContextNetwork(config), UnfoldingNetwork(config)

    def forward(self, tokens: Tensor, newest: Tensor, counts: Tensor, after_s: Tensor) -> Tensor:
        """As the halves."""
        change: Tensor = self.unfolding(*self.context(tokens, newest, counts), after_s)[0]
        return change


# People whose state is kept between two moments.
_MOST_STATES: Final = 64
_ROOT: Final = group_slices()["root"]


class MomentNetwork(nn.Module):
    """What was read of a person and a time (1, 1) after the newest labels, seconds → the pose then, as columns."""

    def __init__(self, unfolding: UnfoldingNetwork) -> None:
        super().__init__()
        self.unfolding = unfolding

    def forward(
        self, state: Tensor, seen: Tensor, entries: Tensor, orientation: Tensor, position: Tensor, after_s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Entries (1, P), orientation (1, 6) and position (1, 3)."""
        (change,) = self.unfolding(state, seen, after_s)
        pose = after_change(Poses(entries, orientation, position), change)
        return pose.entries, pose.orientation[:, :, :2].transpose(1, 2).reshape(-1, 6), pose.position


class LearnedMotion:
    """Continues motion by the trained network (`MotionPredictor`).

    The labels of a person are read once; each moment costs a pass through the decoder.  Threads may call it at once.
    """

    def __init__(self, network: MotionNetwork, device: torch.device = CPU) -> None:
        read = torch.zeros(1, TOKENS, TOKEN_SIZE), torch.zeros(1, NEWEST_SIZE), torch.ones(1, TOKENS)
        newest = torch.zeros(1, POSE_SIZE), torch.eye(3)[None], torch.zeros(1, 3)
        moment = *network.context(*read), *newest, torch.zeros(1, 1)
        self._context = in_use(network.context, read, f"{WEIGHTS_NAME} context", device=device)
        self._moment = in_use(MomentNetwork(network.unfolding), moment, WEIGHTS_NAME, device=device)
        self._states: OrderedDict[bytes, tuple[Tensor, ...]] = OrderedDict()

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, MotionConfig, MotionNetwork), device)

    @torch.inference_mode()
    def predict(self, track: LabelTrack, at_s: float) -> FloatArray:
        """See `MotionPredictor`."""
        times_s, labels = track.times_s, track.labels
        key = times_s[-1].tobytes() + labels[-1].tobytes()
        state = self._states.pop(key, None) or self._read(track)
        self._states[key] = state
        while len(self._states) > _MOST_STATES:
            self._states.popitem(last=False)
        after = torch.tensor([[at_s - times_s[-1]]], dtype=torch.float32)
        return _with_pose(labels[-1], *self._moment(*state, after))

    def _read(self, track: LabelTrack) -> tuple[Tensor, ...]:
        """What the labels of a person say, and the newest pose."""
        ages = torch.from_numpy((track.times_s[-1] - track.times_s[::-1]).astype(np.float32))[None]
        chosen, counts = chosen_labels(ages)
        rows = torch.from_numpy(track.labels).flip(0)[chosen[0]]
        orientation, position = decode_root(rows[:, _ROOT])
        poses = Poses(rows[None, :, POSE], orientation[None], position[None])
        read, newest = tokens(poses, ages[:, chosen[0]])
        context = self._context(read, newest, counts.float())
        return *context, *(column[:, 0].contiguous() for column in poses.columns())


def _with_pose(labels: FloatArray, entries: Tensor, orientation: Tensor, position: Tensor) -> FloatArray:
    """The label vector (LABEL_SIZE,) with a pose (1, …)."""
    out = labels.copy()
    out[POSE] = entries[0].numpy()
    out[_ROOT] = root_entries(orientation[0].double().numpy(), position[0].double().numpy())
    return out
