"""What the labels say of people's clothes and build: the part of the condition that is not geometry of the body."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from common.body.anatomy import SHAPE_SIZE
from common.body.surface_space import SURFACE_SIZE
from common.labels import group_slices

CLOTHING_SIZE = 2 * SURFACE_SIZE + SHAPE_SIZE


@dataclass(frozen=True, slots=True)
class Clothing:
    """Labels of B people, E = 24.

    Args:
        entries: (B, E) entries of `surface`; absent ones are 0, the mean.
        present: (B, E) 1 where an entry was received, else 0.
        shape: (B, 10) shape coefficients.
    """

    entries: Tensor
    present: Tensor
    shape: Tensor

    @classmethod
    def from_labels(cls, labels_BL: Tensor, present_BL: Tensor) -> Self:
        """From label vectors and the mask of their received entries, both (B, LABEL_SIZE)."""
        slices = group_slices()
        surface = slices["surface"]
        present = present_BL[:, surface]
        return cls(labels_BL[:, surface] * present, present, labels_BL[:, slices["shape"]])

    def __getitem__(self, people: Tensor | slice) -> Self:
        return type(self)(self.entries[people], self.present[people], self.shape[people])

    def vector(self) -> Tensor:
        """(B, CLOTHING_SIZE): entries, presence and shape, for a network."""
        return torch.cat([self.entries, self.present, self.shape], dim=-1)
