"""The motion network: what somebody does next, from the labels of the last seconds.

Parallel ViTs (paper eq. 24) read a window each, u = Σ_k ω_k ViT_k(Rescale(s, r_k)).  A recurrent decoder (22),
s_i = f_i(h_{i−1}, t), h_i = RNN(h_{i−1}, s_i), unfolds the pose at time t from the coarse to the fine: the place, the
trunk, legs, arms, the hands.

Most of it is a weighted sum of the changes that were seen, with weights for each part of the body that depend on u:
averaging, extrapolation and whatever lies between.  The decoder adds what the past alone does not say.

Shapes: B people, K = 24 tokens, C = 67 numbers of a change, S of the state.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.labels import group_slices
from common.motion.history import (
    CHANGE_SIZE,
    NEWEST_SIZE,
    POSE,
    POSE_SIZE,
    TOKEN_SIZE,
    TOKENS,
    WINDOW_TOKENS,
    WINDOWS_S,
)
from common.weights.transformer import Block

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
