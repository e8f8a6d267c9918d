"""What an aligned face shows of the facial actions: readings of a network, and of distances between landmarks.

    aligned face ─ principal components z ─ z − n ─┐
    the head's rotation ───────────────────────────┴─ two hidden layers ─┬─ readings
    between the lips, between the lids ──────────────────────────────────┘

n is the mean face of people who do nothing.  How a person's own face differs from it: `sender.face.neutral`.

Shapes: B faces, F features of an aligned face, K components, A = 52 actions.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.weights.loader import load_recorded
from sender.face.alignment import FEATURES, AlignedFace, Alignment
from sender.face.landmarks import POINTS

WEIGHTS_NAME = "face"
KIND = "facial actions"
_ROTATION = 9
_JAW = FACIAL_ACTIONS.index("jawOpen")
LIDS = [FACIAL_ACTIONS.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
# Of 500 rendered heads: an open jaw parts the lips so far; of 76 photographed people: so far are the lids of open eyes.
_LIPS_MM, _LIDS_MM = 23.0, 6.4
# So many times what the lips say is jawOpen at most.
_MOST_JAW = 2.0


@dataclass(frozen=True, slots=True)
class FaceActionsConfig:
    """Sizes of the network."""

    components: int = 80
    width: int = 160


class FaceActions(nn.Module):
    """Aligned face → activations; with the template that faces are aligned to."""

    template: Tensor
    weights: Tensor
    mean: Tensor
    basis: Tensor
    neutral: Tensor
    effects: Tensor
    read: Tensor

    def __init__(self, config: FaceActionsConfig) -> None:
        super().__init__()
        count = len(FACIAL_ACTIONS)
        self.config = config
        # Metres, from its mean.
        self.register_buffer("template", torch.zeros(POINTS, 3))
        self.register_buffer("weights", torch.ones(POINTS))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("basis", torch.zeros(FEATURES, config.components))
        # Of people on the whole: real faces are not the body's mean head.
        self.register_buffer("neutral", torch.zeros(config.components))
        # Of activations on z, by which a head is told from what its face does (`sender.face.head`).
        self.register_buffer("effects", torch.zeros(count, config.components))
        # 1 for the actions that pictures show; the others are worse than none.
        self.register_buffer("read", torch.ones(count))
        self.layers = nn.Sequential(
            nn.Linear(config.components + _ROTATION, config.width),
            nn.GELU(),
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Linear(config.width, count),
        )

    @classmethod
    def load(cls) -> Self:
        """With the shipped weights; raises WeightsError where they are missing or of another version."""
        return load_recorded(WEIGHTS_NAME, KIND, FaceActionsConfig, cls)

    def alignment(self) -> Alignment:
        """Lays faces over the template."""
        return Alignment(self.template.numpy(), self.weights.numpy())

    def components(self, features: Tensor) -> Tensor:
        """z (B, K) of features (B, F)."""
        return (features - self.mean) @ self.basis

    def forward(self, differences: Tensor, rotation: Tensor) -> Tensor:
        """Activations (B, A), not limited to 0…1.

        Args:
            differences: (B, K) components z less the neutral n.
            rotation: (B, 3, 3) of the head.
        """
        activations: Tensor = self.layers(torch.cat([differences, rotation.flatten(1)], dim=1))
        return activations * self.read

    def readings(self, face: AlignedFace, neutral: Tensor) -> FloatArray:
        """What a face shows of each action, (A,): about 0 at rest and 1 at most, not limited.

        Of jaw and lids, the mean of both readings is taken, whose errors differ.  Lips that touch are no open mouth,
        however long the chin.

        Args:
            neutral: (K,) n.
        """
        z = self.components(torch.from_numpy(face.features)[None])
        readings: FloatArray = self(z - neutral, torch.from_numpy(face.rotation)[None])[0].numpy()
        readings[LIDS] = (readings[LIDS] + lids_closed(face)) / 2
        parted = face.lips_mm / _LIPS_MM
        readings[_JAW] = min((readings[_JAW] + parted) / 2, _MOST_JAW * parted)
        return readings


def lids_closed(face: AlignedFace) -> FloatArray:
    """(2,) by the distances between the lids of the left and the right eye alone: 0 open … 1 closed, not limited."""
    return np.asarray(1 - face.lids_mm / _LIDS_MM, np.float32)
