"""The resting level of readings, learned over time.

A quantile of a reading's own distribution is robust against what is done for a share of the time.  Each distribution is
a histogram that forgets; it begins with that of people, which counts as so many seconds.

Shapes: N readings, B bins.
"""

from statistics import NormalDist

import numpy as np

from common.arrays import Float64Array, FloatArray

_MEMORY_S = 60.0
_LOWEST, _HIGHEST, _BINS = -0.75, 1.25, 80


class RestingLevels:
    """Of one person.

    Args:
        quantiles: (N,) of each reading's distribution, where it rests.
        spreads: (N,) standard deviations among people of resting readings, whose quantiles are 0.
        prior_s: seconds as which people count.
    """

    def __init__(self, quantiles: Float64Array, spreads: Float64Array, prior_s: float) -> None:
        self._quantiles = quantiles
        self._seconds = prior_s * _people(quantiles, spreads)
        self._rows = np.arange(len(quantiles))

    def learn(self, readings: FloatArray, step_s: float) -> None:
        """Takes the readings (N,) of so many seconds."""
        self._seconds *= np.exp(-step_s / _MEMORY_S)
        places = (readings - _LOWEST) * (_BINS / (_HIGHEST - _LOWEST))
        self._seconds[self._rows, np.clip(places, 0, _BINS - 1).astype(np.intp)] += step_s

    @property
    def levels(self) -> Float64Array:
        """(N,) readings at rest."""
        below = np.cumsum(self._seconds, axis=1)
        sought = self._quantiles * below[:, -1]
        place = (below < sought[:, None]).sum(axis=1)
        # In the bin, evenly.
        share = 1 - (below[self._rows, place] - sought) / self._seconds[self._rows, place]
        return np.asarray(_LOWEST + (place + share) * ((_HIGHEST - _LOWEST) / _BINS))


def _people(quantiles: Float64Array, spreads: Float64Array) -> Float64Array:
    """(N, B) of distributions whose quantiles are 0."""
    edges = np.linspace(_LOWEST, _HIGHEST, _BINS + 1)
    rows = []
    for quantile, deviation in zip(quantiles, spreads, strict=True):
        normal = NormalDist(-deviation * NormalDist().inv_cdf(float(quantile)), float(deviation))
        rows.append(np.diff([normal.cdf(edge) for edge in edges]) + 1e-6)
    return np.asarray(rows)
