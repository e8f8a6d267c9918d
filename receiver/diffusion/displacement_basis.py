"""Displacement fields of the template as coefficients of 256 tokens, each with an orthonormal basis of its own.

A token is a patch of about 52 neighbouring vertices; head and hands have more tokens than their area, because the mesh
is denser there.  Its basis are the principal components of the displacements of its vertices over many outfits
(`receiver.train.diffusion`).  Coefficients are divided by their standard deviations, so that noise of one σ is
as large as the natural variation of clothes: bare hands hardly move, hair and hems do.

Shapes: B people, V vertices of the template, T = 256 tokens, M vertices of a token (padded), K coefficients.
"""

import torch
from torch import Tensor, nn

DISPLACEMENT_TOKENS = 256
COEFFICIENTS = 24


class DisplacementBasis(nn.Module):
    """Converts displacement fields to standardised coefficients and back; all tensors are buffers.

    Args:
        members: (T, M) vertices of each token; a padded place has the number of vertices V.
        mean: (V, 3) mean displacement, metres.
        basis: (T, K, 3 M) orthonormal rows, zero at padded places.
        scale: (T, K) standard deviations of the coefficients, metres.
        patch: (T,) the token of the condition (of 128) that covers each token.

    `place` (V,), the position of each vertex among the members, follows from them.
    """

    members: Tensor
    mean: Tensor
    basis: Tensor
    scale: Tensor
    patch: Tensor
    place: Tensor

    def __init__(self, members: Tensor, mean: Tensor, basis: Tensor, scale: Tensor, patch: Tensor) -> None:
        super().__init__()
        for name, tensor in (("members", members), ("mean", mean), ("basis", basis), ("scale", scale)):
            self.register_buffer(name, tensor)
        self.register_buffer("patch", patch)
        place = torch.empty(len(mean) + 1, dtype=torch.long)
        place[members.flatten()] = torch.arange(members.numel())
        self.register_buffer("place", place[:-1])

    @classmethod
    def empty(cls, vertices: int, members: int) -> "DisplacementBasis":
        """A basis to load weights into: `vertices` in tokens of `members`."""
        order = torch.arange(DISPLACEMENT_TOKENS * members).clamp_max(vertices)
        return cls(
            order.reshape(DISPLACEMENT_TOKENS, members),
            torch.zeros(vertices, 3),
            torch.zeros(DISPLACEMENT_TOKENS, COEFFICIENTS, 3 * members),
            torch.ones(DISPLACEMENT_TOKENS, COEFFICIENTS),
            torch.zeros(DISPLACEMENT_TOKENS, dtype=torch.long),
        )

    def encode(self, field_BV3: Tensor) -> Tensor:
        """Displacements in metres → standardised coefficients (B, T, K)."""
        padded = nn.functional.pad(field_BV3 - self.mean, (0, 0, 0, 1))
        patches = padded[:, self.members].flatten(2)
        coefficients: Tensor = torch.einsum("btd,tkd->btk", patches, self.basis) / self.scale
        return coefficients

    def decode(self, coefficients_BTK: Tensor) -> Tensor:
        """Standardised coefficients → displacements (B, V, 3), metres."""
        patches = torch.einsum("btk,tkd->btd", coefficients_BTK * self.scale, self.basis)
        vertices = patches.unflatten(-1, (-1, 3)).flatten(1, 2)
        field: Tensor = self.mean + vertices[:, self.place]
        return field
