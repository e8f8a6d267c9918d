"""The motion network in use: poses of a person at any moment after the newest labels."""

from collections import OrderedDict
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.label_space import decode_root
from common.labels import group_slices
from common.motion.history import (
    NEWEST_SIZE,
    POSE,
    POSE_SIZE,
    TOKEN_SIZE,
    TOKENS,
    Poses,
    after_change,
    chosen_labels,
    tokens,
)
from common.motion.label_track import LabelTrack
from common.motion.network import KIND, WEIGHTS_NAME, MotionConfig, MotionNetwork, UnfoldingNetwork
from common.motion.steps import root_entries
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded

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
