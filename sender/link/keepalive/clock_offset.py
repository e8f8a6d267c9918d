"""Offset of the receiver's clock from the sender's, with its error bound.

A message that left at t₀ and whose answer arrived at t₃ was at the receiver, whose clock showed s, at some moment in
between: the offset s − t lies within (s − t₃, s − t₀), an interval as wide as the round trip.  Each sample gives one
such interval.  Intervals move with the estimated drift of the clocks and widen with the uncertainty of that estimate;
the offset lies in their intersection (Marzullo 1984, without tolerance of faulty sources).  Short round trips therefore
dominate without weights.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np

from common.clock import Clock
from common.wire.convert import MAX_TIME_NS, Heartbeat

# Crystals are off by 100 ppm at most; two of them by twice that.
_MAX_DRIFT = 200e-6
# Uncertainty that remains after a line fit through minutes of samples.
_FITTED_DRIFT_ERROR = 10e-6
_FIT_MIN_SPAN_S = 60.0
_FIT_MIN_SAMPLES = 5
# A stream is given up after a shorter silence: an older echo is none, or our clock was stepped.
_MAX_ROUND_TRIP_S = 60.0
# Age at which samples are dropped; of those within the shorter time only the one with the shortest round trip is kept.
_WINDOW_S, _BUCKET_S = 300.0, 5.0


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The receiver's clock minus the sender's.

    Args:
        offset_s: middle of the feasible interval.
        error_s: half of its width; the true offset is no farther away.
        drift: change of the offset, seconds per second.
    """

    offset_s: float
    error_s: float
    drift: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Interval of the offset at one moment of the sender's clock."""

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
    """Estimates the offset of two clocks from round trips."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._bucket_began_s = 0.0

    def update(self, sent_s: float, remote_received_s: float, remote_sent_s: float, received_s: float) -> None:
        """Adds a message and its answer.

        Args:
            sent_s, received_s: departure of the message and arrival of the answer, on the sender's clock.
            remote_received_s, remote_sent_s: arrival of the message and departure of the answer, on the receiver's.
        """
        low_s, high_s = remote_sent_s - received_s, remote_received_s - sent_s
        if low_s > high_s:
            return  # a clock was stepped during the round trip
        sample = _Sample(received_s, low_s, high_s)
        if self._contradicts(sample) or self._was_set_back(sample):
            self._samples.clear()
        if not self._samples or sample.at_s - self._bucket_began_s >= _BUCKET_S:
            self._samples.append(sample)
            self._bucket_began_s = sample.at_s
        elif sample.width_s < self._samples[-1].width_s:
            self._samples[-1] = sample
        while self._samples[0].at_s < sample.at_s - _WINDOW_S:
            self._samples.popleft()

    def at(self, now_s: float) -> ClockEstimate | None:
        """Estimates the offset at a moment of the sender's clock; None before the first sample."""
        if not self._samples:
            return None
        drift, drift_error = self._fit_drift()
        low_s, high_s = -np.inf, np.inf
        for sample in self._samples:
            age_s = abs(now_s - sample.at_s)
            moved_s = drift * (now_s - sample.at_s)
            low_s = max(low_s, sample.low_s + moved_s - drift_error * age_s)
            high_s = min(high_s, sample.high_s + moved_s + drift_error * age_s)
        if low_s > high_s:
            # More drift than crystals have: only the newest sample can be trusted.
            newest = self._samples[-1]
            low_s, high_s = newest.low_s, newest.high_s
        return ClockEstimate(float(low_s + high_s) / 2, float(high_s - low_s) / 2, drift)

    def _contradicts(self, sample: _Sample) -> bool:
        """Whether a sample is inconsistent with the others: one of the clocks was stepped."""
        expected = self.at(sample.at_s)
        if expected is None:
            return False
        apart_s = abs(sample.middle_s - expected.offset_s)
        return apart_s > sample.width_s / 2 + expected.error_s + 1e-3

    def _was_set_back(self, sample: _Sample) -> bool:
        """Whether our clock was stepped; with the receiver's, on one machine, their offset does not tell."""
        return bool(self._samples) and sample.at_s < self._samples[-1].at_s - _MAX_ROUND_TRIP_S

    def _fit_drift(self) -> tuple[float, float]:
        """Fits a line through the samples, weighted by 1 / round trip; returns the drift and its error."""
        at_s = np.array([sample.at_s for sample in self._samples])
        if len(at_s) < _FIT_MIN_SAMPLES or at_s[-1] - at_s[0] < _FIT_MIN_SPAN_S:
            return 0.0, _MAX_DRIFT
        middle_s = np.array([sample.middle_s for sample in self._samples])
        width_s = np.maximum([sample.width_s for sample in self._samples], 1e-4)
        # Subtracted first for precision: seconds since the epoch have ten digits before the point.
        slope, _ = np.polyfit(at_s - at_s[0], middle_s - middle_s[0], 1, w=1 / width_s)
        drift_error = _FITTED_DRIFT_ERROR + float(np.median(width_s)) / float(at_s[-1] - at_s[0])
        return float(np.clip(slope, -_MAX_DRIFT, _MAX_DRIFT)), min(_MAX_DRIFT, drift_error)


class ClockComparison:
    """Compares the clocks of both ends by heartbeats, which report the estimate to the receiver."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = ClockOffset()
        self.compared = asyncio.Event()

    def heartbeat(self) -> Heartbeat:
        """A heartbeat to send now, with the present estimate."""
        now_s = self._clock.wall()
        estimate = self._offset.at(now_s)
        if estimate is None:
            return Heartbeat(int(now_s * 1e9))
        # An error of zero means that the offset is unknown.
        error_ns = max(int(estimate.error_s * 1e9), 1)
        offset_ns = min(max(round(estimate.offset_s * 1e9), -MAX_TIME_NS), MAX_TIME_NS)
        return Heartbeat(int(now_s * 1e9), 0, offset_ns, error_ns)

    def update(self, echo: Heartbeat) -> None:
        """Adds the echo of a heartbeat, which has just arrived; one that was not sent lately is ignored."""
        now_s, sent_s, at_receiver_s = self._clock.wall(), echo.sent_ns / 1e9, echo.received_ns / 1e9
        if now_s - sent_s <= _MAX_ROUND_TRIP_S:
            self._offset.update(sent_s, at_receiver_s, at_receiver_s, now_s)
            self.compared.set()

    def to_sender_ns(self, receiver_ns: int) -> int | None:
        """Converts a time of the receiver's clock to the sender's, ns since the epoch; None before the first echo."""
        estimate = self._offset.at(self._clock.wall())
        return None if estimate is None else receiver_ns - int(estimate.offset_s * 1e9)
