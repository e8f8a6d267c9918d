"""Accumulates what the views of one person say of the clothes: the longer one looks, the better it gets.

A view gives a Gaussian posterior under the prior N(0, 1); its likelihood has precision 1/v − 1.  Views from one
direction repeat each other's errors, so they are averaged.  Views from different directions share a part of them: k of
them count as k / (1 + 0.35 (k − 1)) independent ones.

Shapes: E = 24 entries, D = 8 directions around the person.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from common.arrays import FloatArray
from common.body.surface_space import SURFACE_SIZE
from sender.attributes.repeated_views import MEMORY_VIEWS, Contradictions, independent_share
from sender.people.reading_schedule import Turn

DIRECTIONS = 8
# Clothes have changed if so many views in a row contradict the memory: their squared distance over its expectation.
_CONTRADICTION, _CONTRADICTING_VIEWS = 4.0, 3
_MIN_VARIANCE = 0.01
# Share of the errors that is common to all directions, by the validation split.
_SHARED_ERROR = 0.35


@dataclass(slots=True)
class SurfaceMemory:
    """One person's `surface` labels.

    Args:
        precision: (D, E) mean precision of the likelihoods of each direction's views.
        weighted: (D, E) mean of precision times value.
        views: (D,) views that each mean covers.
        contradicting: views in a row that contradict the memory.
    """

    precision: FloatArray = field(default_factory=lambda: np.zeros((DIRECTIONS, SURFACE_SIZE), np.float32))
    weighted: FloatArray = field(default_factory=lambda: np.zeros((DIRECTIONS, SURFACE_SIZE), np.float32))
    views: FloatArray = field(default_factory=lambda: np.zeros(DIRECTIONS, np.float32))
    contradicting: Contradictions = field(default_factory=lambda: Contradictions(_CONTRADICTING_VIEWS))
    turn: Turn = field(default_factory=Turn)

    def add(self, mean: FloatArray, variance: FloatArray, heading: float) -> float:
        """Adds one view; returns how many its direction has now, at most 12.

        Args:
            mean: (E,) of the posterior.
            variance: (E,) of the posterior, at most 1.
            heading: angle between the person's front and the direction to the camera, radians.
        """
        variance = np.clip(variance, _MIN_VARIANCE, 0.999)
        if self._contradicts(mean, variance):
            self.precision[:], self.weighted[:], self.views[:] = 0, 0, 0
        precision = 1 / variance - 1
        direction = round(heading / (2 * math.pi / DIRECTIONS)) % DIRECTIONS
        self.views[direction] = min(self.views[direction] + 1, MEMORY_VIEWS)
        share = 1 / self.views[direction]
        self.precision[direction] += share * (precision - self.precision[direction])
        # mean / variance is the posterior's natural parameter, to which the prior N(0, 1) contributes nothing.
        self.weighted[direction] += share * (mean / variance - self.weighted[direction])
        return float(self.views[direction])

    @property
    def estimate(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (E,) of all views and the prior."""
        share = independent_share(int(np.count_nonzero(self.views)), _SHARED_ERROR)
        precision = 1 + share * self.precision.sum(axis=0)
        mean, sigma = share * self.weighted.sum(axis=0) / precision, precision**-0.5
        return mean.astype(np.float32), sigma.astype(np.float32)

    def _contradicts(self, mean: FloatArray, variance: FloatArray) -> bool:
        """Whether this view is the last of several that contradict the memory."""
        if not self.views.any():
            return False
        known, sigma = self.estimate
        distance = float(np.mean((mean - known) ** 2 / (variance + sigma**2)))
        return self.contradicting.add(distance > _CONTRADICTION)
