"""The network that reads from one view whether a person wears glasses or gloves.

It sees the eyes, the mouth and the hands more closely than the network of clothes does, and how the hands' colour
differs from the face's.  Its encoder is made as that one's.

Shapes: B people, C close parts, L logits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.wear_kinds import EXTRAS
from sender.perception.network.output import FEATURE_SIZE
from sender.wears.evidence import CLOSE_PARTS, MIRRORED_CLOSE_PARTS, UPRIGHT_CLOSE_PARTS, CloseViews
from sender.wears.network import PartEncoder, mirrored_parts

LOGITS = sum(len(values) for values in EXTRAS.values())
# Both hands are one kind of part.
_KINDS_OF_PART = (0, 1, 2, 2)
# Where cheeks and nose are in the square of the mouth, and the hand in its own, pixels.
_CHEEKS, _PALM = (slice(8, 28), slice(14, 34)), (slice(14, 34), slice(14, 34))
_COLOUR_SCALE, _SHARPNESS = 3.0, 2.0


@dataclass(frozen=True, slots=True)
class ExtrasConfig:
    """Sizes of the network."""

    token: int = 64
    person: int = 24
    dropout: float = 0.3


class ExtrasNet(nn.Module):
    """q(extras | one view): independent attributes."""

    mean_X: Tensor
    scale_X: Tensor
    numbers: Tensor
    temperature: Tensor
    offset: Tensor
    """(L,) of each logit, fitted to people of whom the network has not learned."""

    def __init__(self, config: ExtrasConfig) -> None:
        super().__init__()
        self.config, width = config, config.token
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.register_buffer("numbers", torch.tensor(_KINDS_OF_PART), persistent=False)
        self.register_buffer("temperature", torch.ones(LOGITS))
        self.register_buffer("offset", torch.zeros(LOGITS))
        self.encoder = PartEncoder(max(_KINDS_OF_PART) + 1)
        self.embed, self.norm = nn.Linear(256, width), nn.LayerNorm(width)
        self.drop = nn.Dropout(config.dropout)
        self.face = nn.Linear(2 * width, len(EXTRAS["eyewear"]))
        self.hand = nn.Sequential(nn.Linear(width + 6, width), nn.GELU(), nn.Linear(width, 1))
        self.person = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(FEATURE_SIZE, config.person), nn.GELU(), nn.Linear(config.person, LOGITS - 1)
        )

    def forward(self, views: CloseViews) -> Tensor:
        """(B, L) logits over the values of all attributes, in the order of `EXTRAS`; features may be NaN: unknown."""
        people = len(views)
        encoded = self.encoder(views.parts.flatten(0, 1), self.numbers.repeat(people))
        seen = self.drop(self.norm(self.embed(encoded.unflatten(0, (people, len(CLOSE_PARTS))))))
        features = ((views.features - self.mean_X) / self.scale_X).clamp(-4, 4)
        of_person = self.person(torch.where(features.isnan(), torch.zeros_like(features), features))
        face = self.face(seen[:, :UPRIGHT_CLOSE_PARTS].flatten(1))
        hands = self.hand(torch.cat([seen[:, UPRIGHT_CLOSE_PARTS:], _colours(views.parts)], dim=2))[..., 0]
        # One gloved hand is enough.
        gloves = torch.logsumexp(_SHARPNESS * hands, dim=1, keepdim=True) / _SHARPNESS
        gloves = gloves + of_person[:, -1:]
        logits = torch.cat([face + of_person[:, :-1], torch.zeros_like(gloves), gloves], dim=1)
        calibrated: Tensor = logits.float() / self.temperature + self.offset
        return calibrated


def _colours(parts: Tensor) -> Tensor:
    """(B, 2, 6) of both hands: colour, and its difference from the face's."""
    face = parts[:, 1, :3, *_CHEEKS].mean(dim=(2, 3))
    hands = parts[:, UPRIGHT_CLOSE_PARTS:, :3, *_PALM].mean(dim=(3, 4))
    return _COLOUR_SCALE * torch.cat([hands - face[:, None], hands], dim=2)


def read_extras(network: ExtrasNet, views: CloseViews) -> Tensor:
    """(B, L) mean of the logits of the views and of their mirror images."""
    parts = mirrored_parts(views.parts, MIRRORED_CLOSE_PARTS, UPRIGHT_CLOSE_PARTS)
    both: Tensor = network(views) + network(CloseViews(parts, views.features))
    return both / 2
