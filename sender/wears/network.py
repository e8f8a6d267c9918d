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
from sender.perception.network.output import FEATURE_SIZE
from sender.perception.network.stem import Residual, convolution
from sender.wears.evidence import (
    COLOUR_FEATURES,
    MIRRORED_PARTS,
    MIRRORED_PLACES,
    PARTS,
    PLACES,
    UPRIGHT_PARTS,
    WornViews,
)

LOGITS = sum(len(values) for values in VALUES.values())
PHOTOGRAPH, RENDERED = SOURCES = range(2)
"""Where a view comes from in training, which sets how frequent each value is."""


@dataclass(frozen=True, slots=True)
class WearsConfig:
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


class WearsNet(nn.Module):
    """q(kinds | one view): independent attributes."""

    mean_X: Tensor
    scale_X: Tensor
    numbers: Tensor
    parts_order: Tensor
    places_order: Tensor
    temperature: Tensor
    """(L,) of each logit, chosen on the validation split."""

    def __init__(self, config: WearsConfig) -> None:
        super().__init__()
        self.config = config
        width, joined = config.token, config.token * (len(PARTS) + 2)
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.register_buffer("numbers", torch.arange(len(PARTS)), persistent=False)
        self.register_buffer("parts_order", torch.tensor(MIRRORED_PARTS), persistent=False)
        self.register_buffer("places_order", torch.tensor(MIRRORED_PLACES), persistent=False)
        self.register_buffer("temperature", torch.ones(LOGITS))
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

    def forward(self, views: WornViews, source: Tensor) -> Tensor:
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
        logits = self.leave(torch.cat([x, self.mix(x)], dim=1))
        scaled: Tensor = (logits + self.frequency(source)).float() / self.temperature
        return scaled

    def mirrored(self, views: WornViews) -> WornViews:
        """The views of the same people in mirrored pictures, but with the features of the pictures as they are."""
        # Limbs are mirrored as they are cut.
        parts = views.parts.index_select(1, self.parts_order)
        parts = torch.cat([parts[:, :UPRIGHT_PARTS].flip(-1), parts[:, UPRIGHT_PARTS:]], dim=1)
        colours = views.colours.unflatten(1, (PLACES, -1)).index_select(1, self.places_order).flatten(1)
        return WornViews(parts, colours, views.features)

    def answer_with(self, attribute: int, frequency: Tensor) -> None:
        """Answers an attribute with logits (V,) whatever a photograph shows."""
        start = sum(len(values) for values in list(VALUES.values())[:attribute])
        rows = slice(start, start + len(frequency))
        self.leave.weight[rows] = 0.0
        self.leave.bias[rows] = frequency
        self.frequency.weight[0, rows] = 0.0
        self.temperature[rows] = 1.0


def read_both_ways(network: WearsNet, views: WornViews, source: Tensor) -> Tensor:
    """(B, L) mean of the logits of the views and of their mirror images, which is right more often than either."""
    both: Tensor = network(views, source) + network(network.mirrored(views), source)
    return both / 2


def by_attribute(logits: Tensor) -> tuple[Tensor, ...]:
    """(…, L) → of each attribute (…, V)."""
    return tuple(torch.split(logits, [len(values) for values in VALUES.values()], dim=-1))
