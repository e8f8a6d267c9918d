"""The network that reads facial actions from an aligned face, and the running neutral of a person.

    aligned face ─ principal components z ─ z − n ─┐
    the head's rotation ───────────────────────────┴─ two hidden layers ─ activations a, 0…1

    neutral n ← mean of z − γ E a

n is how this person's face differs from the mean face when it does nothing: the mean of what the actions do not
explain.  E is what they do to z.  With γ < 1, an action that lasts for a minute becomes part of the neutral face, as
narrow eyes are.

Shapes: B faces, F features of an aligned face, K components, A = 52 actions.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from common.body.anatomy import FACIAL_ACTIONS
from common.weights.loader import load_recorded
from sender.face.alignment import FEATURES, Alignment
from sender.face.landmarks import POINTS

WEIGHTS_NAME = "face"
KIND = "facial actions"
_ROTATION = 9


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
