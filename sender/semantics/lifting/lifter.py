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
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import find_entry
from sender.semantics.bodies import Bodies, placed
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.lifting.memory import Window
from sender.semantics.lifting.network import KIND, NAME, Lifted, LiftingConfig, LiftingNetwork
from sender.semantics.lifting.projection import moved_to_keypoints
from sender.semantics.lifting.window import Observations, WindowCamera, tokens

FRAMES: Final = 16
"""T; more are not better."""
# Added to attention where a frame is missing.
_MASKED: Final = -1e4


class OneFrame(nn.Module):
    """The lifting network, which says what it does of one frame of each window."""

    def __init__(self, network: LiftingNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> tuple[Tensor, ...]:
        """Inputs of one window."""
        anchor = torch.zeros(1, FRAMES)
        anchor[:, -1] = 1
        return torch.zeros(1, FRAMES, LiftingConfig().tokens), torch.ones(1, FRAMES), anchor

    def forward(self, tokens: Tensor, present: Tensor, anchor: Tensor) -> tuple[Tensor, ...]:
        """The fields of `Lifted`, (B, …).

        Args:
            tokens: (B, T, F).
            present: (B, T) 1 where there is a frame, else 0.
            anchor: (B, T) 1 for the frame that is estimated, 0 for the others.
        """
        context = self.network.context(tokens, ((1 - present) * _MASKED)[:, None, None])
        # OpenVINO does not compile layers of a single row without a second axis.
        context, own = ((anchor[..., None] * each).sum(1, keepdim=True) for each in (context, tokens))
        entries, _ = self.network.decode(context, own, self.network.prior(context).mean)
        return tuple(each[:, 0] for each in (entries, *self.network.read(context, own)))


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
        kinematics = KeypointJacobian.of_body(LabelSpace.load(), KeypointKinematics(BodyModel.load()))
        return cls(in_use(network, OneFrame.example(), NAME, find_entry(NAME).precision, device), kinematics)

    def bodies(self, windows: Sequence[Window], camera: Camera) -> Bodies:
        """Of B ≥ 1 windows of at most T frames; `camera` is that of the frame that is estimated."""
        frames = Observations.joined([frame for window in windows for frame in window.filled(FRAMES)])
        columns = (getattr(frames, item.name) for item in fields(frames))
        joined = Observations(*(each.reshape(len(windows), FRAMES, *each.shape[1:]) for each in columns))
        places, rows = np.array([window.anchor for window in windows]), np.arange(FRAMES)
        fed, own = tokens(joined, places)
        present = rows < np.array([[len(window.frames)] for window in windows])
        anchor = rows == places[:, None]
        inputs = (torch.from_numpy(each.astype(np.float32)) for each in (fed, present, anchor))
        said = Lifted(*self._network(*inputs))
        # One frame does not show what stands.
        feet = [
            _stands(logits) if len(window.frames) > 1 else None
            for window, logits in zip(windows, said.contact, strict=True)
        ]
        entries, pixels = self._in_frame(said, own, camera)
        return Bodies(entries, to_numpy(said.sigma), pixels, feet)

    def _in_frame(self, said: Lifted, own: WindowCamera, camera: Camera) -> tuple[FloatArray, FloatArray]:
        """Bodies that are moved to their keypoints, and from the windows' own cameras to the frame's.

        Returns:
            Label entries (B, E), and keypoints (B, K, 2), pixels.
        """
        predicted, free = to_numpy(said.entries), to_numpy(said.free)
        places, uncertain = to_numpy(said.keypoints), to_numpy(said.keypoints_sigma)
        entries = moved_to_keypoints(self._kinematics, predicted, free, places, uncertain, own.focal[:, None])
        turn, pelvis = own.in_frame(entries)
        points = self._kinematics.keypoints(entries) @ own.rotation.swapaxes(1, 2) + pelvis[:, None]
        return placed(entries, turn, pelvis), np.stack([camera.project(each) for each in points])


def _stands(logits: Tensor) -> tuple[bool, bool]:
    """Whether the left and the right foot do, by logits (4,) of left heel, left toe, right heel and right toe."""
    left, right = (bool(foot.max() > 0) for foot in logits.split(2))
    return left, right
