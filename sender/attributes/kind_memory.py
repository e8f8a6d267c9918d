"""Accumulates what the views of one person say of hair and clothes.

The views of a clip repeat each other's errors: n of them count as n / (1 + 0.8 (n − 1)) independent ones, at most 1.25.
A view whose posterior is spread out shows little of an attribute and counts little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from common.arrays import FloatArray
from common.wear_kinds import VALUES
from sender.attributes.repeated_views import MEMORY_VIEWS, Contradictions, independent_share

_SHARED_ERROR = 0.8
# Weight of a view that shows nothing, over that of one that is sure.
_LEAST_WEIGHT = 0.05
_LEAST_SHARE = 1e-3
# An attribute has changed if so many views in a row contradict the memory: both would be right with less than this
# probability.
_CONTRADICTION, _CONTRADICTING_VIEWS = 0.08, 4


@dataclass(slots=True)
class _Attribute:
    """What is known of one attribute.

    Args:
        mean: (V,) weighted mean of the logarithms of the posteriors.
        weight: sum of the weights in it.
        views: number of views that it covers.
        contradicting: views in a row that contradict it.
    """

    mean: FloatArray
    weight: float = 0.0
    views: float = 0.0
    contradicting: Contradictions = field(default_factory=lambda: Contradictions(_CONTRADICTING_VIEWS))

    def add(self, shares: FloatArray) -> None:
        contradicts = bool(self.views) and float(self.posterior @ shares) < _CONTRADICTION
        if self.contradicting.add(contradicts):
            self.weight, self.views = 0.0, 0.0
        elif contradicts:
            return
        logs = np.log(np.maximum(shares, _LEAST_SHARE))
        certainty = 1 + float((shares * logs).sum()) / np.log(len(shares))
        added = _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * max(certainty, 0.0)
        if self.views >= MEMORY_VIEWS:
            self.weight *= (MEMORY_VIEWS - 1) / MEMORY_VIEWS
        self.views = min(self.views + 1, MEMORY_VIEWS)
        self.weight += added
        self.mean = self.mean + np.float32(added / self.weight) * (logs.astype(np.float32) - self.mean)

    @property
    def posterior(self) -> FloatArray:
        """(V,) of all views."""
        independent = self.views * independent_share(self.views, _SHARED_ERROR)
        scores = np.exp(independent * (self.mean - self.mean.max()))
        return np.asarray(scores / scores.sum(), np.float32)


def _unknown() -> dict[str, _Attribute]:
    return {name: _Attribute(np.zeros(len(values), np.float32)) for name, values in VALUES.items()}


@dataclass(slots=True)
class KindMemory:
    """What one person wears."""

    attributes: dict[str, _Attribute] = field(default_factory=_unknown)

    def add(self, posterior: Mapping[str, FloatArray]) -> None:
        """Adds the posterior of one view.

        A view that contradicts what is known of an attribute is left out, unless it is the last of several in a row.
        """
        for name, known in self.attributes.items():
            known.add(posterior[name])

    @property
    def settled(self) -> bool:
        """Whether each attribute has as many views as count, and the last one contradicted none."""
        return all(known.views >= MEMORY_VIEWS and not known.contradicting.count for known in self.attributes.values())

    @property
    def posterior(self) -> dict[str, FloatArray]:
        """Attribute → the posterior of all views; uniform before the first."""
        return {name: known.posterior for name, known in self.attributes.items()}
