"""Makes outfits obey what was seen: the `surface` labels, as far as they are sure.

A sender's entry ŷ is the mean of a posterior: in the space of the label group, where outfits have mean 0 and variance
1, it explains a share K of the variance.

The diffusion draws z' given the labels: hems and fits that agree with what was seen.  What z' cannot express is moved
towards the labels: e ← e + √K (ŷ − e).  Where K is 0 the cloth stays where it was; where K is 1 the entry is what was
sent.  Fitted to validation people by least squares, the truth is 0.3 e + 0.5 ŷ of the leading entries with one view,
and 0.3 e + 0.7 ŷ with eight; of the others, 0.2 e + 0.8 ŷ and 0.2 e + 1.0 ŷ.

Shapes: V' vertices of the template, E = 24 entries.
"""

from dataclasses import replace
from typing import Self

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.wears import Wears
from common.weights.devices import CPU
from receiver.outfits.diffusion import OutfitDiffusion
from receiver.outfits.dressing import Dresser, Outfit
from receiver.outfits.hair_outline import HairOutline
from receiver.outfits.mixture import OutfitLatent, decode_outfit, draw
from receiver.outfits.shells import Shells

# Entries that the confidence of the group is that of; of the others, it is the square.
_LEADING = 4


class Guidance:
    """Dresses people in outfits that the labels do not contradict."""

    def __init__(
        self, dresser: Dresser, space: SurfaceSpace, diffusion: OutfitDiffusion, outlined: HairOutline
    ) -> None:
        self._dresser, self._diffusion = dresser, diffusion
        self._outlined = outlined
        self._mean, self._basis, self._analysis = (
            each.detach().cpu().numpy() for each in (space.mean, space.basis, space.analysis)
        )

    @classmethod
    def load(cls, template: BodyTemplate, space: SurfaceSpace, device: torch.device = CPU) -> Self:
        """With the package's shells and weights. Raises WeightsError if they are missing or unreadable."""
        return cls(Dresser(template, Shells.load()), space, OutfitDiffusion.load(device), HairOutline(template))

    def chosen(self, wears: Wears | None, identity: int, surface: FloatArray, confidence: float) -> OutfitLatent:
        """The outfit of a person that agrees with what was seen.

        Args:
            wears: None if nothing is known of the kinds.
            surface: (n,) entries that arrived, n ≤ 24.
            confidence: of the group, 0…1: the share of variance that its leading entries explain.
        """
        drawn = draw(wears, identity)
        share = explained(len(surface), confidence)
        # The more was seen, the likelier is what is shown: a sample is further from the truth than its mean.
        drawn = replace(drawn, noise=drawn.noise * (1 - (confidence if len(surface) else 0.0)) ** 2)
        return decode_outfit(drawn, self._diffusion.sample(drawn, surface, share))

    def worn(self, latent: OutfitLatent, surface: FloatArray, confidence: float) -> Outfit:
        """One outfit, moved by the labels."""
        if not len(surface) or confidence <= 0:
            return self._dresser.dress(latent)
        # How cloth hangs is a guess: the surer the labels are, the less of it.
        outfit = self._dresser.dress(latent, 1 - confidence)
        change = np.sqrt(confidence) * (surface - self._entries(outfit.displacement)[: len(surface)])
        moved = np.tensordot(change.astype(np.float32), self._basis[: len(surface)], 1)
        return Outfit(self._dresser.moved(outfit, moved), outfit.part)

    def outlined(self, outfit: Outfit, latent: OutfitLatent, outline: FloatArray, skull: FloatArray) -> Outfit:
        """The outfit with hair to this outline (S,), metres, on a head that is displaced by (V', 3)."""
        return self._outlined.with_hair(outfit, latent.kinds, outline, skull)

    def _entries(self, displacement: FloatArray) -> FloatArray:
        return np.asarray(self._analysis @ (displacement - self._mean).ravel(), np.float32)


def explained(count: int, confidence: float) -> Float64Array:
    """(n,) share of the variance of each of the first entries that a sender explains."""
    return np.where(np.arange(SURFACE_SIZE) < _LEADING, confidence, confidence**2)[:count]
