"""How far the receiver's clock is from the sender's, and how sure that is.  Pure: times in, estimate out.

A message that left at t₀ and whose answer came back at t₃ was at the receiver, whose clock showed s, at some moment
between the two: the offset s − t lies within (s − t₃, s − t₀), an interval as wide as the round trip.  Every sample
gives such an interval; they move with the drift of the clocks and grow with what is not known of it, and the offset
lies in all of them at once (Marzullo 1984, without his tolerance of liars).  Short round trips decide by themselves.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

# Crystals are off by 100 ppm at most; two of them by twice that.
_DRIFT_UNKNOWN = 200e-6
# What a line through minutes of samples leaves unknown.
_DRIFT_KNOWN = 10e-6
_LINE_SPAN_S = 60.0
_LINE_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The receiver's clock minus the sender's.

    Args:
        offset_s: the most likely one.
        error_s: how far off it can be.
        drift: seconds that the offset grows in a second.
    """

    offset_s: float
    error_s: float
    drift: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """An interval that the offset was in at a moment of the sender's clock."""

    at_s: float
    low_s: float
    high_s: float

    @property
    def width_s(self) -> float:
        return self.high_s - self.low_s

    @property
    def middle_s(self) -> float:
        return (self.low_s + self.high_s) / 2


class ClockOffset:
    """Follows the offset of two clocks.

    Args:
        window_s: how long samples count.
        bucket_s: of the samples of so long a time, the one with the shortest round trip is kept.
    """

    def __init__(self, window_s: float = 300.0, bucket_s: float = 5.0) -> None:
        if not 0 < bucket_s <= window_s:
            raise ValueError(f"bucket_s {bucket_s} and window_s {window_s} must be above 0 and in this order")
        self._window_s, self._bucket_s = window_s, bucket_s
        self._samples: deque[_Sample] = deque()
        self._bucket_began_s = 0.0

    def update(self, sent_s: float, remote_received_s: float, remote_sent_s: float, received_s: float) -> None:
        """Takes in a message and its answer.

        Args:
            sent_s, received_s: on the sender's clock.
            remote_received_s, remote_sent_s: when the receiver got the one and sent the other, on its clock.
        """
        low_s, high_s = remote_sent_s - received_s, remote_received_s - sent_s
        if low_s > high_s:
            return  # a clock was set between the two
        sample = _Sample(received_s, low_s, high_s)
        if self._contradicts(sample):
            self._samples.clear()
        if not self._samples or sample.at_s - self._bucket_began_s >= self._bucket_s:
            self._samples.append(sample)
            self._bucket_began_s = sample.at_s
        elif sample.width_s < self._samples[-1].width_s:
            self._samples[-1] = sample
        while self._samples[0].at_s < sample.at_s - self._window_s:
            self._samples.popleft()

    def at(self, now_s: float) -> ClockEstimate | None:
        """The offset at a moment of the sender's clock; None before the first sample."""
        if not self._samples:
            return None
        drift, unknown = self._drift()
        low_s, high_s = -np.inf, np.inf
        for sample in self._samples:
            age_s = abs(now_s - sample.at_s)
            moved_s = drift * (now_s - sample.at_s)
            low_s = max(low_s, sample.low_s + moved_s - unknown * age_s)
            high_s = min(high_s, sample.high_s + moved_s + unknown * age_s)
        if low_s > high_s:
            # More drift than crystals have; the newest knows best.
            newest = self._samples[-1]
            low_s, high_s = newest.low_s, newest.high_s
        return ClockEstimate(float(low_s + high_s) / 2, float(high_s - low_s) / 2, drift)

    def _contradicts(self, sample: _Sample) -> bool:
        """Whether a sample cannot be true beside the others: one of the clocks was set."""
        expected = self.at(sample.at_s)
        if expected is None:
            return False
        apart_s = abs(sample.middle_s - expected.offset_s)
        return apart_s > sample.width_s / 2 + expected.error_s + 1e-3

    def _drift(self) -> tuple[float, float]:
        """The drift, and what is unknown of it; a line through the samples, short round trips first."""
        at_s = np.array([sample.at_s for sample in self._samples])
        if len(at_s) < _LINE_SAMPLES or at_s[-1] - at_s[0] < _LINE_SPAN_S:
            return 0.0, _DRIFT_UNKNOWN
        middle_s = np.array([sample.middle_s for sample in self._samples])
        width_s = np.maximum([sample.width_s for sample in self._samples], 1e-4)
        # Large numbers are taken off first: seconds since the epoch have nine digits before the point.
        slope, _ = np.polyfit(at_s - at_s[0], middle_s - middle_s[0], 1, w=1 / width_s)
        unknown = _DRIFT_KNOWN + float(np.median(width_s)) / float(at_s[-1] - at_s[0])
        return float(np.clip(slope, -_DRIFT_UNKNOWN, _DRIFT_UNKNOWN)), min(_DRIFT_UNKNOWN, unknown)
