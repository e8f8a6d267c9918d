"""The SNR that the next picture is made for, from what the receiver measured of earlier ones."""

from collections import deque
from threading import Lock
from typing import Final, NamedTuple

import numpy as np

from common.arrays import Float64Array

# Of a measurement, before its age tells how much the channel may have changed since.
_FIRST_MARGIN_DB: Final = 3.0
_LEAST_PAIRS: Final = 2
# The margin stops where the networks know no worse channel.
_LEAST_SAFE_DB: Final = -1.0
_REMEMBERED: Final = 64


class Assumed(NamedTuple):
    """What is assumed of the channel.

    Args:
        age_s: of the newest measurement; None before the first.
    """

    snr_db: float
    age_s: float | None


class ChannelEstimate:
    """Measurements of one session; any thread may call.

    A measurement is of the time at which its picture was captured, so that its age counts everything: encoding, both
    ways of the link, and waiting.  The margin for an age is the root mean square of the changes between measurements
    that are apart by that age, within a half.

    Args:
        configured_db: assumed before the first measurement.
    """

    def __init__(self, configured_db: float) -> None:
        self._configured_db = configured_db
        self._lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Another source, whose times have nothing to do with those before."""
        with self._lock:
            self._sent_s: dict[int, float] = {}
            self._measured: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def sent(self, sequence: int, time_s: float) -> None:
        """The picture of a frame was sent, which was captured at this time of the source."""
        with self._lock:
            self._sent_s[sequence] = time_s
            while len(self._sent_s) > _REMEMBERED:
                del self._sent_s[next(iter(self._sent_s))]

    def measured(self, sequence: int, snr_db: float) -> None:
        """The receiver measured the SNR of a picture; what is unknown, or older than the newest one, does not count."""
        with self._lock:
            time_s = self._sent_s.pop(sequence, None)
            if time_s is not None and (not self._measured or time_s > self._measured[-1][0]):
                self._measured.append((time_s, snr_db))

    def assumed(self, time_s: float) -> Assumed:
        """For a picture that is captured at this time of the source."""
        with self._lock:
            measured = np.array(self._measured, np.float64).reshape(-1, 2)
        if not len(measured):
            return Assumed(self._configured_db, None)
        age_s = time_s - float(measured[-1, 0])
        safe_db = float(measured[-1, 1]) - _usual_change_db(measured, age_s)
        return Assumed(max(safe_db, min(float(measured[-1, 1]), _LEAST_SAFE_DB)), age_s)


def _usual_change_db(measured: Float64Array, age_s: float) -> float:
    """Root mean square change of the SNR in `age_s`, of (n, 2) times and SNRs."""
    apart_s, changes_db = (measured[:, None] - measured).transpose(2, 0, 1)
    alike = changes_db[(apart_s > age_s / 2) & (apart_s < age_s * 3 / 2)]
    return float(np.sqrt(np.square(alike).mean())) if len(alike) >= _LEAST_PAIRS else _FIRST_MARGIN_DB
