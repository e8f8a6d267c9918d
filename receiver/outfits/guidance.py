"""Corrects a sampled outfit by the `surface` labels, as far as they are sure.

A sender's entry is the mean of a posterior.  In the space of the label group, where outfits have mean 0 and variance 1,
such an estimate explains a share K of an entry's variance, and Matheron's rule makes a sample of the prior one of the
posterior: e ← e + ŷ − K e.  Where K is 0 the outfit stays as it was sampled; where it is 1 the entry is what was sent.

Shapes: V' vertices of the template, E = 24 entries.
"""

from typing import Self

import numpy as np

from common.arrays import FloatArray
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from receiver.outfits.dressing import Dresser
from receiver.outfits.mixture import OutfitLatent
from receiver.outfits.shells import Shells

_LEADING = 4


class Guidance:
    """Dresses people in outfits that the labels do not contradict."""

    def __init__(self, dresser: Dresser, space: SurfaceSpace) -> None:
        self._dresser = dresser
        self._mean, self._basis, self._analysis = (
            each.detach().cpu().numpy() for each in (space.mean, space.basis, space.analysis)
        )

    @classmethod
    def load(cls, template: BodyTemplate, space: SurfaceSpace) -> Self:
        """With the shells of the package. Raises WeightsError if they are missing or unreadable."""
        return cls(Dresser(template, Shells.load()), space)

    def worn(self, latent: OutfitLatent, surface: FloatArray, confidence: float) -> FloatArray:
        """(V', 3) displacement of an outfit, metres.

        Args:
            surface: (n,) entries that arrived, n ≤ 24.
            confidence: of the group, 0…1: the share of variance that its leading entries explain.
        """
        outfit = self._dresser.dress(latent)
        if not len(surface) or confidence <= 0:
            return outfit.displacement
        gain = np.where(np.arange(SURFACE_SIZE) < _LEADING, confidence, confidence**2)[: len(surface)]
        own = self._analysis[: len(surface)] @ (outfit.displacement - self._mean).ravel()
        change = np.tensordot((surface - gain * own).astype(np.float32), self._basis[: len(surface)], 1)
        return self._dresser.moved(outfit, change)
