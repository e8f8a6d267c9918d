"""Offset of the receiver's clock from the sender's, with its error bound.

A message that left at t₀ and whose answer arrived at t₃ was at the receiver, whose clock showed s, at some moment in
between: the offset s − t lies within (s − t₃, s − t₀), an interval as wide as the round trip.  Each sample gives one
such interval, which widens with the drift of the clocks; the offset lies in their intersection (Marzullo 1984, without
tolerance of faulty sources).  Short round trips therefore dominate without weights.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from common.clock import Clock
from common.wire.convert import MAX_TIME_NS, Heartbeat

# Crystals are off by 100 ppm at most; two of them by twice that.
_MAX_DRIFT = 200e-6
# Samples that count, of up to five a second; the drift makes older ones worthless.
_SAMPLES = 120
# Heartbeats that may be answered yet; a stream is given up before there are more.
_PENDING = 64
# Farther from the others than is possible: one of the clocks was stepped.
_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The receiver's clock minus the sender's.

    Args:
        offset_s: middle of the feasible interval.
        error_s: half of its width; the true offset is no farther away.
    """

    offset_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Interval of the offset, at a monotonic time."""

    at_s: float
    low_s: float
    high_s: float


class ClockOffset:
    """Estimates the offset of two clocks from round trips."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    def update(self, sent_s: float, remote_s: float, round_trip_s: float, now_s: float) -> None:
        """Adds a message and its answer.

        Args:
            sent_s, remote_s: departure of the message and its arrival, each on the clock of its end.
            now_s: when the answer arrived, on a monotonic clock.
        """
        sample = _Sample(now_s, remote_s - sent_s - round_trip_s, remote_s - sent_s)
        others = self.at(now_s)
        if others is not None:
            apart_s = abs((sample.low_s + sample.high_s) / 2 - others.offset_s)
            if apart_s > round_trip_s / 2 + others.error_s + _STEP_S:
                self._samples.clear()
        self._samples.append(sample)

    def at(self, now_s: float) -> ClockEstimate | None:
        """Estimates the offset at a monotonic time; None before the first sample."""
        if not self._samples:
            return None
        low_s = max(sample.low_s - _MAX_DRIFT * (now_s - sample.at_s) for sample in self._samples)
        high_s = min(sample.high_s + _MAX_DRIFT * (now_s - sample.at_s) for sample in self._samples)
        return ClockEstimate((low_s + high_s) / 2, abs(high_s - low_s) / 2)


class ClockComparison:
    """Compares the clocks of both ends by heartbeats, which report the estimate to the receiver."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = ClockOffset()
        # By the time stamp that is echoed, the monotonic time of departure.
        self._pending: dict[int, float] = {}
        self.compared = asyncio.Event()

    def heartbeat(self) -> Heartbeat:
        """A heartbeat to send now, with the present estimate."""
        sent_ns, now_s = int(self._clock.wall() * 1e9), self._clock.monotonic()
        self._pending[sent_ns] = now_s
        if len(self._pending) > _PENDING:
            del self._pending[next(iter(self._pending))]
        estimate = self._offset.at(now_s)
        if estimate is None:
            return Heartbeat(sent_ns)
        # An error of zero means that the offset is unknown.
        error_ns = min(max(int(estimate.error_s * 1e9), 1), MAX_TIME_NS)
        offset_ns = min(max(round(estimate.offset_s * 1e9), -MAX_TIME_NS), MAX_TIME_NS)
        return Heartbeat(sent_ns, 0, offset_ns, error_ns)

    def update(self, echo: Heartbeat) -> float | None:
        """Adds the echo of a heartbeat, which has just arrived.

        Returns:
            When the heartbeat left, on the monotonic clock; None if it was not sent lately, or is one of a train.
        """
        left_s = self._pending.pop(echo.sent_ns, None)
        if left_s is not None and echo.received_ns:
            now_s = self._clock.monotonic()
            self._offset.update(echo.sent_ns / 1e9, echo.received_ns / 1e9, now_s - left_s, now_s)
            self.compared.set()
        return left_s
