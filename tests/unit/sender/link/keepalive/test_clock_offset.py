"""The clock offset from round trips lies within its error bound for any network and clocks."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.clock import Clock
from common.wire.convert import Heartbeat
from sender.link.keepalive import ClockComparison

EPOCH_S = 1.8e9


class Network:
    """Two clocks and a network between them, simulated with a heartbeat every 200 ms.

    Args:
        offset_s: the receiver's clock minus the sender's at the beginning.
        drift: change of the offset, seconds per second.
        forward_ms, return_ms: minimum one-way delays; exponentially distributed queueing delays are added.
    """

    def __init__(self, offset_s: float, drift: float = 0.0, forward_ms: float = 20.0, return_ms: float = 20.0) -> None:
        self.offset_s, self.drift, self.forward_ms, self.return_ms = offset_s, drift, forward_ms, return_ms
        self.queue_ms = 0.0
        self.random = random.Random(5)
        self.now_s = 0.0
        self.epoch_s = EPOCH_S
        self.clocks = ClockComparison(Clock(lambda: self.now_s, lambda: self.epoch_s + self.now_s))

    def true_offset_s(self) -> float:
        return self.offset_s + self.drift * self.now_s

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.2)):
            self.now_s += 0.2
            forward_s, return_s = (
                (minimum_ms + (self.random.expovariate(1 / self.queue_ms) if self.queue_ms else 0.0)) / 1e3
                for minimum_ms in (self.forward_ms, self.return_ms)
            )
            sent_ns = self.clocks.heartbeat().sent_ns
            self.now_s += forward_s
            received_s = self.epoch_s + self.now_s + self.true_offset_s()
            self.now_s += return_s
            self.clocks.update(Heartbeat(sent_ns, int(received_s * 1e9)))

    def error_s(self) -> tuple[float, float]:
        """The true error of the estimate, and its error bound."""
        estimate = self.clocks.heartbeat()
        return abs(estimate.clock_offset_ns / 1e9 - self.true_offset_s()), estimate.clock_error_ns / 1e9


def test_one_round_trip_bounds_the_offset_by_its_half() -> None:
    for offset_s in (0.0, -3.5, 1000.0, -1e6):
        network = Network(offset_s)
        network.run(0.2)
        error_s, bound_s = network.error_s()
        assert error_s < 1e-5
        assert bound_s == pytest.approx(0.020, abs=1e-3)


@settings(deadline=None, max_examples=15)
@given(
    offset_s=st.floats(-2000, 2000),
    drift=st.floats(-100e-6, 100e-6),
    forward_ms=st.floats(0.1, 300),
    return_ms=st.floats(0.1, 300),
    queue_ms=st.floats(0, 200),
)
def test_offset_is_within_its_bound(
    offset_s: float, drift: float, forward_ms: float, return_ms: float, queue_ms: float
) -> None:
    network = Network(offset_s, drift, forward_ms, return_ms)
    network.queue_ms = queue_ms
    for seconds in (1.0, 20.0, 100.0):
        network.run(seconds)
        error_s, bound_s = network.error_s()
        assert error_s <= bound_s + 1e-6


def test_queueing_delays_are_tolerated() -> None:
    network = Network(1000.0)
    network.queue_ms = 150.0
    network.run(30.0)
    error_s, bound_s = network.error_s()
    # The shortest of 120 round trips was hardly queued: the bound is near half of the 40 ms without queues.
    assert bound_s < 0.06
    assert error_s < 0.04


def test_step_of_the_receivers_clock_is_detected_at_once() -> None:
    network = Network(0.0)
    network.run(60.0)
    network.offset_s = 5.0
    network.run(0.4)
    error_s, _ = network.error_s()
    assert error_s < 0.001


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
@pytest.mark.parametrize("one_machine", [True, False])
def test_step_of_our_clock_leaves_the_error_small(step_s: float, one_machine: bool) -> None:
    network = Network(0.0, forward_ms=0.2, return_ms=0.2)
    network.run(20.0)
    network.epoch_s += step_s
    network.offset_s -= 0.0 if one_machine else step_s
    network.run(1.0)
    error_s, bound_s = network.error_s()
    assert error_s <= bound_s < 0.005
