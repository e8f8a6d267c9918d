import pytest

from sender.rate.capacity import Capacity, CapacityEstimator
from tests.unit.sender.rate.samples import FakeBottleneck, sample


def _run(link: FakeBottleneck, estimator: CapacityEstimator, begin_ms: float, frames: int, size: int) -> Capacity:
    for number in range(frames):
        capacity = estimator.update(*link.send(begin_ms + number * 33.0, size))
    return capacity


def test_thin_stream_on_a_fast_link_is_a_lower_bound_that_throttles_nothing() -> None:
    capacity = _run(FakeBottleneck(50e6), CapacityEstimator(), 0.0, 100, 300)
    assert not capacity.measured
    assert capacity.bps == pytest.approx(370 * 8 / 0.033, rel=0.01)


def test_stream_that_fills_the_link_measures_it() -> None:
    # 800 bytes at 30 Hz want 194 kbit/s.
    link, estimator = FakeBottleneck(1e6), CapacityEstimator()
    _run(link, estimator, 0.0, 30, 300)
    link.capacity_bps = 100e3
    capacity = _run(link, estimator, 1000.0, 60, 800)
    assert capacity.measured
    assert capacity.bps == pytest.approx(100e3, rel=0.15)
    assert capacity.queue_ms > 15.0


def test_link_collapse_is_seen_within_a_few_frames() -> None:
    link, estimator = FakeBottleneck(8e6), CapacityEstimator()
    assert not _run(link, estimator, 0.0, 60, 4000).measured
    link.capacity_bps = 500e3
    capacity = _run(link, estimator, 60 * 33.0, 8, 4000)
    assert capacity.measured
    assert capacity.bps == pytest.approx(500e3, rel=0.2)


def test_train_of_full_packets_measures_a_link_that_is_not_full() -> None:
    estimator = CapacityEstimator()
    estimator.update(sample(message_bytes=1500, sent_spacing_ms=None, arrival_spacing_ms=None), 0.0)
    capacity = estimator.update(sample(message_bytes=1500, sent_spacing_ms=0.2, arrival_spacing_ms=6.0), 6.0)
    assert capacity.measured
    assert capacity.bps == pytest.approx(1570 * 8 / 0.006)


def test_train_of_small_frames_says_nothing() -> None:
    estimator = CapacityEstimator()
    estimator.update(sample(sent_spacing_ms=None, arrival_spacing_ms=None), 0.0)
    assert not estimator.update(sample(sent_spacing_ms=0.2, arrival_spacing_ms=6.0), 6.0).measured


def test_jitter_without_a_standing_queue_is_no_congestion() -> None:
    estimator = CapacityEstimator()
    for number in range(100):
        late_ms = 40.0 if number % 3 == 0 else 0.0
        capacity = estimator.update(sample(one_way_ms=10.0 + late_ms), number * 33.0)
        assert not capacity.measured


def test_stream_that_begins_on_a_full_link_measures_it() -> None:
    capacity = _run(FakeBottleneck(100e3, delay_ms=5.0), CapacityEstimator(), 0.0, 60, 800)
    assert capacity.measured
    assert capacity.bps == pytest.approx(100e3, rel=0.15)


def test_slow_reconstruction_on_a_busy_machine_is_no_thin_link() -> None:
    # Five frames a second because the receiver takes 200 ms each; everything is late by up to 60 ms beside that.
    estimator = CapacityEstimator()
    for number in range(100):
        late_ms = 20.0 + 40.0 * (number % 5) / 4 if number else 0.0
        slow = sample(
            rtt_ms=1.0 + late_ms,
            sent_spacing_ms=200.0,
            arrival_spacing_ms=200.0,
            one_way_ms=1.0 + late_ms,
            waited=True,
        )
        assert not estimator.update(slow, number * 200.0).measured


def test_measurement_is_forgotten_after_its_window() -> None:
    link, estimator = FakeBottleneck(1e6), CapacityEstimator(window_ms=2000.0)
    _run(link, estimator, 0.0, 30, 300)
    link.capacity_bps = 100e3
    assert _run(link, estimator, 1000.0, 30, 800).measured
    later = estimator.at(10_000.0)
    assert (later.bps, later.measured) == (None, False)


def test_gap_between_streams_is_not_a_slow_link() -> None:
    estimator = CapacityEstimator()
    for number in range(3):
        estimator.update(sample(one_way_ms=10.0 + 30.0 * number), number * 33.0)
    estimator.update(sample(one_way_ms=100.0, sent_spacing_ms=None, arrival_spacing_ms=None), 40_000.0)
    assert not estimator.update(sample(one_way_ms=100.0), 40_033.0).measured
