"""The space of the label group `surface`: what people wear, as displacements of the template, from coarse to fine.

A displacement field moves each vertex of the template (`common.body.template`) from the skin to the outermost layer of
clothes and hair, in the rest pose.  Fields are projected onto their principal components over sampled outfits, in a
metric that weighs a vertex by its area (the Karhunen-Loève transform).  Every entry has unit variance, and zero is the
average of what people wear.

No sender sends the group any more.  The average remains, and the importance table has what an entry moves.

Shapes: B people, V' = 13,348 vertices.
"""

from dataclasses import dataclass
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.body.anatomy import SURFACE_SPACE_FILE
from common.errors import WeightsError
from common.labels import GROUP_BY_NAME


@dataclass(frozen=True, eq=False)
class SurfaceSpace:
    """Decodes displacement fields.

    Args:
        mean: (V', 3) average displacement, metres.
        basis: (24, V', 3) displacement per standard deviation of each entry, metres.
    """

    mean: Tensor
    basis: Tensor

    @classmethod
    def load(cls) -> Self:
        """The surface space of the package. Raises WeightsError if the file is missing or unreadable."""
        try:
            stored = load_file(SURFACE_SPACE_FILE)
            mean, basis = stored["mean"].float(), stored["basis"].float()
            if basis.shape != (GROUP_BY_NAME["surface"].size, *mean.shape):
                raise ValueError(f"shapes {tuple(mean.shape)}, {tuple(basis.shape)}")
            return cls(mean, basis)
        except (OSError, ValueError, SafetensorError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{SURFACE_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error

    def decode(self, surface: Tensor) -> Tensor:
        """(B, V', 3) displacements in metres of entries (B, 24)."""
        return self.mean + (surface @ self.basis.flatten(1)).reshape(len(surface), *self.mean.shape)
