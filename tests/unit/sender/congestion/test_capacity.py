import pytest

from sender.congestion.capacity import Capacity, CapacityEstimator, PacketTrainSample
from tests.support.link.link_samples import FakeBottleneck


def _run(link: FakeBottleneck, estimator: CapacityEstimator, begin_ms: float, frames: int, size: int) -> Capacity:
    for number in range(frames):
        capacity = estimator.update(*link.send(begin_ms + number * 33.0, size))
    return capacity


def test_thin_stream_on_a_fast_link_gives_a_lower_bound() -> None:
    capacity = _run(FakeBottleneck(50e6), CapacityEstimator(), 0.0, 100, 300)
    assert not capacity.measured
    assert capacity.bps == pytest.approx(370 * 8 / 0.033, rel=0.01)


def test_stream_that_fills_the_link_measures_it_until_the_measurements_leave_the_window() -> None:
    # 800 bytes at 30 Hz are 194 kbit/s.
    link, estimator = FakeBottleneck(1e6), CapacityEstimator()
    _run(link, estimator, 0.0, 30, 300)
    link.capacity_bps = 100e3
    capacity = _run(link, estimator, 1000.0, 60, 800)
    assert capacity.measured
    assert capacity.bps == pytest.approx(100e3, rel=0.15)
    later = estimator.at(40_000.0)
    assert (later.bps, later.measured) == (None, False)
    full_at_first = _run(FakeBottleneck(100e3, delay_ms=5.0), CapacityEstimator(), 0.0, 60, 800)
    assert full_at_first.measured
    assert full_at_first.bps == pytest.approx(100e3, rel=0.15)


def test_packet_trains_measure_a_hardly_used_link_the_precise_ones_most() -> None:
    estimator = CapacityEstimator()
    _run(FakeBottleneck(2e6), estimator, 0.0, 30, 300)
    # One arrival in five was time-stamped late.
    for number, bps in enumerate((2.02e6, 1.99e6, 0.9e6, 2.0e6, 2.01e6)):
        capacity = estimator.on_packet_train(PacketTrainSample(bps, 10.0), 1000.0 + number * 300.0)
    assert capacity.measured
    assert capacity.bps == pytest.approx(2e6, rel=0.01)
    estimator = CapacityEstimator()
    for bps, spacing_ms in ((1.4e6, 4.0), (2.0e6, 10.0), (1.5e6, 4.0)):
        capacity = estimator.on_packet_train(PacketTrainSample(bps, spacing_ms), 0.0)
    assert capacity.bps == 2.0e6
    unresolved = CapacityEstimator().on_packet_train(PacketTrainSample(30e6, 1.0), 0.0)
    assert (unresolved.bps, unresolved.measured) == (30e6, False), "a lower bound"


def test_lower_quartile_of_the_last_second() -> None:
    estimator = CapacityEstimator()
    assert estimator.lower_quartile_bps(0.0) is None
    for number, bps in enumerate((8e6, 2e6, 2e6, 8e6, 8e6, 2e6, 8e6, 8e6)):
        estimator.on_packet_train(PacketTrainSample(bps, 10.0), number * 100.0)
    assert estimator.at(800.0).bps == pytest.approx(8e6)
    assert estimator.lower_quartile_bps(800.0) == pytest.approx(2e6)
    assert estimator.lower_quartile_bps(5000.0) == pytest.approx(8e6)
