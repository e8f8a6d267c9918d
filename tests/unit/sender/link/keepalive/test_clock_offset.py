"""The offset of two clocks from round trips: within its own bound, whatever the network and the clocks do."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.link.keepalive.clock_offset import ClockOffset

EPOCH_S = 1.8e9


class Network:
    """Two clocks and a network between them, played at a heartbeat every 200 ms.

    Args:
        offset_s: the receiver's clock minus the sender's at the beginning.
        drift: seconds that it grows in a second.
        there_ms, back_ms: shortest delays each way; exponential queues come on top.
    """

    def __init__(self, offset_s: float, drift: float = 0.0, there_ms: float = 20.0, back_ms: float = 20.0) -> None:
        self.offset_s, self.drift, self.there_ms, self.back_ms = offset_s, drift, there_ms, back_ms
        self.queue_ms = 0.0
        self.random = random.Random(5)
        self.now_s = EPOCH_S
        self.clocks = ClockOffset()

    def true_offset_s(self) -> float:
        return self.offset_s + self.drift * (self.now_s - EPOCH_S)

    def play(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.2)):
            self.now_s += 0.2
            there_s, back_s = (
                (least + (self.random.expovariate(1 / self.queue_ms) if self.queue_ms else 0.0)) / 1e3
                for least in (self.there_ms, self.back_ms)
            )
            at_receiver_s = self.now_s + there_s + self.true_offset_s()
            self.clocks.update(self.now_s, at_receiver_s, at_receiver_s, self.now_s + there_s + back_s)

    def error_s(self) -> tuple[float, float]:
        """How far off the estimate is, and how far it says that it can be."""
        estimate = self.clocks.at(self.now_s)
        assert estimate is not None
        return abs(estimate.offset_s - self.true_offset_s()), estimate.error_s


def test_nothing_is_known_before_the_first_sample() -> None:
    assert ClockOffset().at(EPOCH_S) is None


@pytest.mark.parametrize("offset_s", [0.0, -3.5, 1000.0, -1e6])
def test_one_round_trip_bounds_the_offset_by_half_of_itself(offset_s: float) -> None:
    network = Network(offset_s)
    network.play(0.2)
    error_s, bound_s = network.error_s()
    assert error_s < 1e-5
    assert bound_s == pytest.approx(0.020, abs=1e-3)


@settings(deadline=None)
@given(
    offset_s=st.floats(-2000, 2000),
    drift=st.floats(-100e-6, 100e-6),
    there_ms=st.floats(0.1, 300),
    back_ms=st.floats(0.1, 300),
    queue_ms=st.floats(0, 200),
)
def test_the_offset_is_within_the_bound(
    offset_s: float, drift: float, there_ms: float, back_ms: float, queue_ms: float
) -> None:
    network = Network(offset_s, drift, there_ms, back_ms)
    network.queue_ms = queue_ms
    for seconds in (1.0, 20.0, 100.0):
        network.play(seconds)
        error_s, bound_s = network.error_s()
        assert error_s <= bound_s + 1e-6


def test_queues_do_not_spoil_it() -> None:
    network = Network(1000.0)
    network.queue_ms = 150.0
    network.play(30.0)
    error_s, bound_s = network.error_s()
    # The shortest of 150 round trips had next to no queue: the bound is near half of the empty network's 40 ms.
    assert bound_s < 0.045
    assert error_s < 0.02


def test_drift_is_learned_and_carries_over_a_silence() -> None:
    network = Network(0.3, drift=80e-6)
    network.queue_ms = 2.0
    network.play(240.0)
    estimate = network.clocks.at(network.now_s)
    assert estimate is not None
    assert estimate.drift == pytest.approx(80e-6, abs=15e-6)
    network.now_s += 60.0
    error_s, bound_s = network.error_s()
    assert error_s < 0.003
    assert error_s <= bound_s


def test_a_clock_that_is_set_is_noticed_at_once() -> None:
    network = Network(0.0)
    network.play(60.0)
    network.offset_s = 5.0
    network.play(0.4)
    error_s, _ = network.error_s()
    assert error_s < 0.001


def test_a_clock_that_is_set_during_a_round_trip_teaches_nothing() -> None:
    clocks = ClockOffset()
    clocks.update(EPOCH_S, EPOCH_S, EPOCH_S, EPOCH_S - 1.0)
    assert clocks.at(EPOCH_S) is None


@pytest.mark.parametrize(("window_s", "bucket_s"), [(0.0, 0.0), (1.0, 2.0), (5.0, -1.0)])
def test_windows_that_make_no_sense(window_s: float, bucket_s: float) -> None:
    with pytest.raises(ValueError, match="in this order"):
        ClockOffset(window_s, bucket_s)
