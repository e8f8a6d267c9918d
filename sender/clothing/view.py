"""What the clothing network is given of single views."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

PICTURE_PX = 112
"""Side of the crop's picture."""


@dataclass(frozen=True, slots=True)
class ClothingViews:
    """B views, each of one person; `sender.clothing.evidence` computes most of it.

    Args:
        evidence: (B, 2048, F) at the surface points.
        places: (B, 128, Q, 2) of the tokens, crop units.
        picture: (B, 3, P, P) of the crop, RGB 0…1, P = `PICTURE_PX`.
        maps: (B, 2, P/2, P/2) silhouette and relief.
        features: (B, FEATURE_SIZE) X of perception.
    """

    evidence: Tensor
    places: Tensor
    picture: Tensor
    maps: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def concatenate(cls, views: Sequence[Self]) -> Self:
        """Several batches as one."""
        return cls(*(torch.cat([getattr(view, item.name) for view in views]) for item in fields(cls)))
