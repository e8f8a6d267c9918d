"""The lifting network in use: windows of people → bodies in the frame that is estimated.

All windows have as many frames, so that the network is one graph; those that a window lacks are masked.

Shapes: B people, T frames, F columns of a token, E = 80 entries, K = 17 keypoints.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.frames import Camera
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import find_entry
from sender.semantics.bodies import Bodies, placed
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.lifting.memory import Window
from sender.semantics.lifting.network import (
    KIND,
    NAME,
    Lifted,
    LiftingConfig,
    LiftingNetwork,
    lags_of,
    smoothed_entries,
)
from sender.semantics.lifting.window import Observations, WindowCamera, mean_crop, tokens

FRAMES: Final = 32
"""T; with half as many, people shake half as much again from frame to frame."""
# Of corrections, which are learned from rendered people: with all of them, people before four cameras are no better.
_CARRIED: Final = 0.6
# Added to attention where a frame is missing.
_MASKED: Final = -1e4


class OneFrame(nn.Module):
    """The lifting network, which says what it does of one frame of each window, and corrects less."""

    def __init__(self, network: LiftingNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> tuple[Tensor, ...]:
        """Inputs of one window."""
        anchor = torch.zeros(1, FRAMES)
        anchor[:, -1] = 1
        square = torch.ones(1, FRAMES, FRAMES)
        return torch.zeros(1, FRAMES, LiftingConfig().tokens), 0 * square, square, anchor

    def forward(self, tokens: Tensor, lags: Tensor, sees: Tensor, anchor: Tensor) -> tuple[Tensor, ...]:
        """The fields of `Lifted`, (B, …).

        Args:
            tokens, lags: (B, T, F) and (B, T, T), as of `LiftingNetwork`.
            sees: (B, T, T) 1 where a frame sees another one, else 0.
            anchor: (B, T) 1 for the frame that is estimated, 0 for the others.
        """
        mask = ((1 - sees) * _MASKED)[:, None]
        context = self.network.context(tokens, lags, mask)
        # OpenVINO does not compile layers of a single row without a second axis.
        rows = (context, smoothed_entries(tokens))
        context, smoothed = ((anchor[..., None] * each).sum(1, keepdim=True) for each in rows)
        entries, _ = self.network.decode(context, smoothed, self.network.prior(context).mean)
        carried = smoothed + _CARRIED * (entries - smoothed)
        return carried[:, 0], self.network.sigma(context)[:, 0]


class Lifter:
    """Estimates bodies.

    Args:
        network: `OneFrame` in use.
        kinematics: of the body, by arrays.
    """

    def __init__(self, network: NetworkInUse, kinematics: KeypointJacobian) -> None:
        self._network, self._kinematics = network, kinematics

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        network = OneFrame(load_recorded(NAME, KIND, LiftingConfig, LiftingNetwork))
        kinematics = KeypointJacobian.load()
        return cls(in_use(network, OneFrame.example(), NAME, find_entry(NAME).precision, device), kinematics)

    def bodies(self, windows: Sequence[Window], camera: Camera) -> Bodies:
        """Of B ≥ 1 windows of at most T frames; `camera` is that of the frame that is estimated."""
        frames = Observations.joined([frame for window in windows for frame in window.filled(FRAMES)])
        columns = (getattr(frames, item.name) for item in fields(frames))
        joined = Observations(*(each.reshape(len(windows), FRAMES, *each.shape[1:]) for each in columns))
        places, rows = np.array([window.anchor for window in windows]), np.arange(FRAMES)
        centre, side = mean_crop(joined, joined.seen)
        own = WindowCamera.through(centre, side)
        lags = lags_of(torch.from_numpy(joined.time_s))
        # Frames see those up to their own, where the anchor is the last one, as in the training.
        present = rows < np.array([[len(window.frames)] for window in windows])
        causal = np.array([window.anchor == len(window.frames) - 1 for window in windows])
        sees = present[:, None] & (~causal[:, None, None] | np.tri(FRAMES, dtype=bool)) | np.eye(FRAMES, dtype=bool)
        inputs = (tokens(joined, own, side), lags, sees, rows == places[:, None])
        said = Lifted(*self._network(*(torch.as_tensor(each, dtype=torch.float32) for each in inputs)))
        entries, pixels = self._in_frame(to_numpy(said.entries), own, camera)
        return Bodies(entries, to_numpy(said.sigma), pixels)

    def _in_frame(self, entries: FloatArray, own: WindowCamera, camera: Camera) -> tuple[FloatArray, FloatArray]:
        """Bodies from the windows' own cameras to the frame's.

        Returns:
            Label entries (B, E), and keypoints (B, K, 2), pixels.
        """
        turn, pelvis = own.in_frame(entries)
        points = self._kinematics.keypoints(entries) @ own.rotation.swapaxes(1, 2) + pelvis[:, None]
        return placed(entries, turn, pelvis), np.stack([camera.project(each) for each in points])
