"""Makes outfits obey what was seen: the `surface` labels, as far as they are sure.

A sender's entry ŷ is the mean of a posterior: in the space of the label group, where outfits have mean 0 and variance
1, it explains a share K of the variance.  So it counts as a measurement ŷ / K of the entry with variance (1 − K) / K.

Two steps make a sample of the mixture one of the posterior.  Among a few samples of the person's kinds one is drawn in
proportion to its likelihood (importance sampling): whole outfits, whose hems and fits agree with what was seen.
Matheron's rule moves its cloth for the rest: e ← e + ŷ − K e.  Where K is 0 the first sample stays as it was; where K
is 1 the entry is what was sent.

Shapes: V' vertices of the template, E = 24 entries.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.wears import Wears
from receiver.outfits.dressing import Dresser
from receiver.outfits.mixture import OutfitLatent, sample
from receiver.outfits.shells import Shells

# Entries that the confidence of the group is that of; of the others, it is the square.
_LEADING = 4
_DRAWS = 8
# A generated outfit is never exactly the true one: variance of each entry beyond that of what was sent.
_OWN_VARIANCE = 0.1
_LEAST_SHARE, _MOST_SHARE = 1e-3, 0.98
_SEED = 43
# People whose draws are kept; a person's take 2 kB.
_REMEMBERED = 256


@dataclass(frozen=True, eq=False)
class _Draws:
    """Samples of one person's kinds.

    Args:
        entries: (draws, E) of the label group.
    """

    latents: tuple[OutfitLatent, ...]
    entries: FloatArray


class Guidance:
    """Dresses people in outfits that the labels do not contradict."""

    def __init__(self, dresser: Dresser, space: SurfaceSpace) -> None:
        self._dresser = dresser
        self._mean, self._basis, self._analysis = (
            each.detach().cpu().numpy() for each in (space.mean, space.basis, space.analysis)
        )
        self._draws: OrderedDict[tuple[int, bytes], _Draws] = OrderedDict()

    @classmethod
    def load(cls, template: BodyTemplate, space: SurfaceSpace) -> Self:
        """With the shells of the package. Raises WeightsError if they are missing or unreadable."""
        return cls(Dresser(template, Shells.load()), space)

    def chosen(self, wears: Wears | None, identity: int, surface: FloatArray, confidence: float) -> OutfitLatent:
        """The outfit of a person that agrees with what was seen.

        Args:
            wears: None if nothing is known of the kinds.
            surface: (n,) entries that arrived, n ≤ 24.
            confidence: of the group, 0…1: the share of variance that its leading entries explain.
        """
        if not len(surface) or confidence <= 0:
            return sample(wears, identity)
        draws = self._drawn(wears, identity)
        return draws.latents[likeliest(draws.entries, surface, confidence, identity)]

    def worn(self, latent: OutfitLatent, surface: FloatArray, confidence: float) -> FloatArray:
        """(V', 3) displacement of one outfit, moved by the labels, metres."""
        outfit = self._dresser.dress(latent)
        if not len(surface) or confidence <= 0:
            return outfit.displacement
        own = self._entries(outfit.displacement)[: len(surface)]
        change = surface - explained(len(surface), confidence) * own
        return self._dresser.moved(outfit, np.tensordot(change.astype(np.float32), self._basis[: len(surface)], 1))

    def _entries(self, displacement: FloatArray) -> FloatArray:
        return np.asarray(self._analysis @ (displacement - self._mean).ravel(), np.float32)

    def _drawn(self, wears: Wears | None, identity: int) -> _Draws:
        key = identity, b"" if wears is None else wears.encode()
        if key not in self._draws:
            latents = tuple(sample(wears, identity, draw) for draw in range(_DRAWS))
            entries = np.stack([self._entries(self._dresser.dress(latent).displacement) for latent in latents])
            self._draws[key] = _Draws(latents, entries)
            while len(self._draws) > _REMEMBERED:
                self._draws.popitem(last=False)
        self._draws.move_to_end(key)
        return self._draws[key]


def explained(count: int, confidence: float) -> Float64Array:
    """(n,) share of the variance of each of the first entries that a sender explains."""
    return np.where(np.arange(SURFACE_SIZE) < _LEADING, confidence, confidence**2)[:count]


def likeliest(entries: FloatArray, surface: FloatArray, confidence: float, identity: int) -> int:
    """The sample (N, E) that is drawn in proportion to its likelihood given the entries (n,) that arrived.

    By the Gumbel-max trick with the identity's noise, so that a small change of the labels rarely changes it.
    """
    share = explained(len(surface), confidence).clip(_LEAST_SHARE, _MOST_SHARE)
    variance = (1 - share) / share + _OWN_VARIANCE
    log_likelihood = -0.5 * (np.square(entries[:, : len(surface)] - surface / share) / variance).sum(1)
    return int(np.argmax(log_likelihood + np.random.default_rng([_SEED, identity]).gumbel(size=len(entries))))
