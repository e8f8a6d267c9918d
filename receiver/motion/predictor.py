"""The motion network in use: poses of a person at any moment after the newest labels."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE, decode_root
from common.body.rotations import matrix_to_rotation_6d
from common.frames import NEAR_M
from common.labels import ROTATION_SCALE, group_slices
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.motion.history import NEWEST_SIZE, POSE, TOKEN_SIZE, TOKENS, Poses, after_change, chosen_labels, tokens
from receiver.motion.network import KIND, WEIGHTS_NAME, MotionConfig, MotionNetwork

# People whose state is kept between two moments.
_MOST_STATES: Final = 64
_ROOT: Final = group_slices()["root"]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What a person's labels were read to, and the newest pose (1, …)."""

    read: tuple[Tensor, ...]
    newest: Poses


class LearnedMotion:
    """Continues motion by the trained network (`MotionPredictor`).

    The labels of a person are read once; each moment costs a pass through the decoder.
    """

    def __init__(self, network: MotionNetwork, device: torch.device = CPU) -> None:
        read = torch.zeros(1, TOKENS, TOKEN_SIZE), torch.zeros(1, NEWEST_SIZE), torch.ones(1, TOKENS)
        after = *network.context(*read), torch.zeros(1, 1)
        self._context = in_use(network.context, read, f"{WEIGHTS_NAME} context", device=device)
        self._unfolding = in_use(network.unfolding, after, WEIGHTS_NAME, device=device)
        self._states: OrderedDict[bytes, _State] = OrderedDict()

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, MotionConfig, MotionNetwork), device)

    @torch.inference_mode()
    def predict(self, times_s: Float64Array, labels: FloatArray, at_s: float) -> FloatArray:
        """See `MotionPredictor`."""
        key = times_s[-1].tobytes() + labels[-1].tobytes()
        state = self._states.pop(key, None) or self._read(times_s, labels)
        self._states[key] = state
        while len(self._states) > _MOST_STATES:
            self._states.popitem(last=False)
        after = torch.tensor([[at_s - times_s[-1]]], dtype=torch.float32)
        (change,) = self._unfolding(*state.read, after)
        return _with_pose(labels[-1], after_change(state.newest, change))

    def _read(self, times_s: Float64Array, labels: FloatArray) -> _State:
        ages = torch.from_numpy((times_s[-1] - times_s[::-1]).astype(np.float32))[None]
        chosen, counts = chosen_labels(ages)
        rows = torch.from_numpy(labels).flip(0)[chosen[0]]
        orientation, position = decode_root(rows[:, _ROOT])
        poses = Poses(rows[None, :, POSE], orientation[None], position[None])
        read, newest = tokens(poses, ages[:, chosen[0]])
        context = self._context(read, newest, counts.float())
        return _State(context, Poses(*(column[:, 0] for column in poses.columns())))


def _with_pose(labels: FloatArray, pose: Poses) -> FloatArray:
    """The label vector (LABEL_SIZE,) with a pose (1, …)."""
    out = labels.copy()
    x, y, z = pose.position[0].tolist()
    z = max(z, NEAR_M)
    out[POSE] = pose.entries[0].numpy()
    out[_ROOT][:6] = matrix_to_rotation_6d(pose.orientation)[0].numpy() / ROTATION_SCALE
    out[_ROOT][6:] = (np.array([x / z, y / z, np.log(z)]) - TRANSLATION_MEAN) / TRANSLATION_SCALE
    return out
