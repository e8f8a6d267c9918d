"""The network that reads what a person wears from one view: parts of the picture → logits of each attribute's values.

    parts ─ PartEncoder ─ 11 tokens ─┐
    colours along the limbs ─ token ─┼─ two layers ─ + ─ logits
    perception's features ─── token ─┤              │
                                     └──────────────┘

The encoder begins with the layers of perception's stem.

Shapes: B people, P parts, A = 8 attributes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.wear_kinds import VALUES
from sender.attributes.kind_evidence import COLOUR_FEATURES, PARTS, KindViews
from sender.perception.heads import Residual, convolution
from sender.perception.output import FEATURE_SIZE

LOGITS = sum(len(values) for values in VALUES.values())
PHOTOGRAPH, RENDERED = SOURCES = range(2)
"""Where a view comes from in training, which sets how frequent each value is."""


@dataclass(frozen=True, slots=True)
class KindNetConfig:
    """Sizes of the network."""

    token: int = 96
    hidden: int = 256
    dropout: float = 0.25


class PartEncoder(nn.Module):
    """Parts (N, 4, Q, Q) → (N, 2 · 128): mean and maximum of features at stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(convolution(3, 24, 2), convolution(24, 48, 2), convolution(48, 48))
        self.mask = nn.Conv2d(1, 48, 4, 4)
        self.part = nn.Embedding(len(PARTS), 48)
        self.eighth = nn.Sequential(convolution(48, 96, 2), Residual(96))
        self.sixteenth = nn.Sequential(convolution(96, 128, 2), Residual(128))
        nn.init.zeros_(self.mask.weight)
        nn.init.zeros_(self.mask.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.part.weight)

    def forward(self, parts: Tensor, number: Tensor) -> Tensor:
        quarter = self.quarter(4 * parts[:, :3] - 2) + self.mask(parts[:, 3:]) + self.part(number)[..., None, None]
        features = self.sixteenth(self.eighth(quarter))
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


class KindNet(nn.Module):
    """q(kinds | one view): independent attributes."""

    mean_X: Tensor
    scale_X: Tensor
    numbers: Tensor
    mass: Tensor
    """(A,) of `kind_sets.said`, chosen on people who were left out; 0: the attribute is never said."""

    def __init__(self, config: KindNetConfig) -> None:
        super().__init__()
        self.config = config
        width, joined = config.token, config.token * (len(PARTS) + 2)
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.register_buffer("numbers", torch.arange(len(PARTS)), persistent=False)
        self.register_buffer("mass", torch.ones(len(VALUES)))
        self.encoder = PartEncoder()
        self.embed = nn.Linear(256, width)
        self.colours = nn.Sequential(nn.Linear(COLOUR_FEATURES, width), nn.GELU(), nn.Linear(width, width))
        self.person = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURE_SIZE, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(config.dropout)
        self.mix = nn.Sequential(nn.Linear(joined, config.hidden), nn.GELU(), nn.Dropout(config.dropout))
        self.leave = nn.Linear(joined + config.hidden, LOGITS)
        self.frequency = nn.Embedding(len(SOURCES), LOGITS)
        nn.init.zeros_(self.frequency.weight)

    def forward(self, views: KindViews, source: Tensor) -> Tensor:
        """(B, L) logits over the values of all attributes, in the order of `VALUES`.

        Args:
            source: (B,) of `SOURCES`.
        """
        people, parts = views.parts.shape[:2]
        encoded = self.encoder(views.parts.flatten(0, 1), self.numbers.repeat(people))
        seen = self.embed(encoded.unflatten(0, (people, parts)))
        features = ((views.features - self.mean_X) / self.scale_X).clamp(-4, 4)
        # Rendered people have no features.
        features = torch.where(features.isnan(), torch.zeros_like(features), features)
        more = torch.stack([self.colours(views.colours), self.person(features)], dim=1)
        x = self.drop(self.norm(torch.cat([seen, more], dim=1)).flatten(1))
        logits: Tensor = self.leave(torch.cat([x, self.mix(x)], dim=1)) + self.frequency(source)
        return logits.float()


def by_attribute(logits: Tensor) -> tuple[Tensor, ...]:
    """(…, L) → of each attribute (…, V)."""
    return tuple(torch.split(logits, [len(values) for values in VALUES.values()], dim=-1))
