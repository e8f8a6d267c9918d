import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.traffic import wire_bytes
from sender.congestion.capacity import (
    Capacity,
    CapacityEstimator,
    PacketTrainSample,
    PaperBandwidth,
    PaperDelay,
    WindowedExtreme,
    measure,
    message_sizes,
    pause_ms,
)
from tests.support.link.link_samples import FakeBottleneck, sample


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-1e3, 1e3)), min_size=1, max_size=60), st.booleans())
def test_extreme_of_the_values_in_the_window(steps: list[tuple[float, float]], largest: bool) -> None:
    extreme, values, now_ms = WindowedExtreme(100.0, largest=largest), [], 0.0
    for step_ms, value in steps:
        now_ms += step_ms
        values.append((now_ms, value))
        recent = [value for at_ms, value in values if at_ms >= now_ms - 100.0]
        assert extreme.update(value, now_ms) == (max(recent) if largest else min(recent))


def test_values_leave_the_window_without_updates() -> None:
    extreme = WindowedExtreme(100.0)
    extreme.update(1.0, 0.0)
    assert extreme.at(100.0) == 1.0
    assert extreme.at(100.1) is None


RATES = [20e3, 100e3, 1e6, 5e6, 20e6]


def test_wire_bytes_include_the_headers_of_every_packet() -> None:
    assert wire_bytes(300) == 300 + 18 + 52
    assert wire_bytes(10_000) == 10_000 + 18 + 7 * 52


def test_measure_uses_the_spacing_of_the_last_two_messages_or_gives_a_lower_bound() -> None:
    # The first arrived at a sleeping receiver and was time-stamped late.
    measurement = measure([9.0, 10.0, 20.0], [40, 400, 1000])
    assert measurement.resolved and measurement.precise
    assert measurement.bps == pytest.approx(wire_bytes(1000) * 8 / 0.010)
    unresolved = measure([0.0, 0.1], [40, 1000])
    assert not unresolved.resolved and unresolved.bps == pytest.approx(wire_bytes(1000) * 8 / 0.003)
    assert not measure([0.0, 5.0], [40, 1000]).precise


def test_trains_use_a_few_percent_of_any_link_and_end_before_the_next_frame() -> None:
    for bps in RATES:
        sizes = message_sizes(bps)
        times_ms = [wire_bytes(size) * 8e3 / bps for size in sizes]
        assert sum(times_ms) <= 0.04 * pause_ms(sizes, bps) * 1.001, bps
        assert bps == RATES[0] or (times_ms[-1] > 3.9 and sum(times_ms) < 23.0), bps
    assert sum(wire_bytes(size) for size in message_sizes(1e9)) < 10 * 1500, "the initial congestion window of TCP"


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


def test_bandwidth_by_hand() -> None:
    bandwidth = PaperBandwidth()
    bandwidth.update(sample(arrival_spacing_ms=None), 0.0)
    assert bandwidth.bandwidth_bps is None  # the first frame of a stream has no interval
    # 1000 bytes in 10 ms are 800 kbit/s.
    bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=10.0), 10.0)
    assert bandwidth.bandwidth_bps == pytest.approx(800e3)
    # Both together: 16,000 bits in 40 ms are 400 kbit/s; 0.8 of 800 and 0.2 of 400.
    bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=30.0), 30.0)
    assert bandwidth.bandwidth_bps == pytest.approx(720e3)
    # These samples have left the window: 80 kbit/s.
    bandwidth.update(sample(message_bytes=100, arrival_spacing_ms=10.0), 1031.0)
    assert bandwidth.bandwidth_bps == pytest.approx(0.8 * 720e3 + 0.2 * 80e3)


def test_delay_by_hand() -> None:
    delay = PaperDelay()
    assert delay.delay_ms is None
    delay.update(sample(rtt_ms=10.0), 0.0)
    assert delay.delay_ms == pytest.approx(10.0)
    # One half-life later: (0.5 * 10 + 1 * 40) / 1.5.
    delay.update(sample(rtt_ms=40.0), 500.0)
    assert delay.delay_ms == pytest.approx(30.0)
    # After a long idle time only the new round trip counts.
    delay.update(sample(rtt_ms=500.0), 60_000.0)
    assert delay.delay_ms == pytest.approx(500.0)
