"""A channel that fades as a whole, slowly: the SNR of each picture, by its time.

A sum of waves from all sides (Clarke 1968), and one wave in the line of sight that is as strong as they are together.
"""

from typing import Final

import numpy as np

_LEAST_SNR_DB: Final = -1.0
_LARGEST_SNR_DB: Final = 20.0
_DOPPLER_HZ: Final = 0.25
_WAVES: Final = 16


class SlowFading:
    """The fading of one session, which the seed determines (`mean_snr_db`: of the mean power)."""

    def __init__(self, mean_snr_db: float, seed: int) -> None:
        self._mean_snr_db = mean_snr_db
        angles, self._phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, (2, _WAVES))
        self._radians_per_s = 2 * np.pi * _DOPPLER_HZ * np.cos(angles)

    def snr_db(self, time_s: float) -> float:
        """SNR at a time of the source, cut to what the networks know."""
        scattered = np.exp(1j * (self._radians_per_s * time_s + self._phases)).sum() / _WAVES**0.5
        faded_db = self._mean_snr_db + 20 * float(np.log10(max(abs(scattered + 1) / 2**0.5, 1e-9)))
        return min(max(faded_db, _LEAST_SNR_DB), _LARGEST_SNR_DB)
