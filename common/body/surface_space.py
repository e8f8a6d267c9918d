"""The space of the label group `surface`: what people wear, as displacements of the template, from coarse to fine.

A displacement field moves each vertex of the template (`common.body.template`) from the skin to the outermost layer of
clothes and hair, in the rest pose.  Fields are projected onto their principal components over sampled outfits, in a
metric that weighs a vertex by its area (the Karhunen-Loève transform).  Every entry has unit variance, any prefix can
be decoded, and zero is the average of what people wear.

Shapes: B people, V' = 13,348 vertices.
"""

from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.body.anatomy import SURFACE_SPACE_FILE
from common.errors import WeightsError
from common.labels import GROUP_BY_NAME

SURFACE_SIZE = GROUP_BY_NAME["surface"].size
TENSORS = ("mean", "basis", "areas", "mirror_signs")
"""The tensors of the file."""


class SurfaceSpace(nn.Module):
    """Encodes and decodes displacement fields.

    Args:
        mean: (V', 3) average displacement, metres.
        basis: (24, V', 3) displacement per standard deviation of each entry, metres.
        areas: (V',) area of each vertex.
        mirror_signs: (24,) −1 for the entries that change their sign when left and right are exchanged, else 1.
    """

    mean: Tensor
    mirror_signs: Tensor
    basis: Tensor
    analysis: Tensor

    def __init__(self, mean: Tensor, basis: Tensor, areas: Tensor, mirror_signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("mirror_signs", mirror_signs, persistent=False)
        # Rounding to 16 bits leaves the components nearly, not exactly, orthogonal.
        weighted = (basis * areas[:, None]).flatten(1).double()
        gram = weighted @ basis.flatten(1).double().T
        self.register_buffer("analysis", torch.linalg.solve(gram, weighted).float(), persistent=False)

    @classmethod
    def load(cls) -> Self:
        """The surface space of the package. Raises WeightsError if the file is missing or unreadable."""
        try:
            stored = load_file(SURFACE_SPACE_FILE)
            mean, basis, areas, signs = (stored[name].float() for name in TENSORS)
            if basis.shape != (len(signs), *mean.shape) or mean.shape != (len(areas), 3) or len(signs) != SURFACE_SIZE:
                raise ValueError(f"shapes {tuple(mean.shape)}, {tuple(basis.shape)}, {tuple(areas.shape)}")
            return cls(mean, basis, areas, signs).eval()
        except (OSError, ValueError, SafetensorError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{SURFACE_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error

    def encode(self, displacement: Tensor) -> Tensor:
        """(B, 24) standardised entries of displacement fields (B, V', 3), metres."""
        return (displacement - self.mean).flatten(1) @ self.analysis.T

    def decode(self, surface: Tensor) -> Tensor:
        """(B, V', 3) displacements in metres of entries (B, k), k ≤ 24; those that are missing are zero, the mean."""
        basis = self.basis[: surface.shape[1]].flatten(1)
        return self.mean + (surface @ basis).reshape(len(surface), *self.mean.shape)

    def mirrored(self, surface: Tensor) -> Tensor:
        """Entries (B, k) of the same clothes with left and right exchanged, as a mirrored picture shows them."""
        return surface * self.mirror_signs[: surface.shape[1]]
