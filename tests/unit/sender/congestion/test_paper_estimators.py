import pytest

from sender.congestion.paper_estimators import PaperBandwidth, PaperDelay
from tests.support.link_samples import FakeBottleneck, sample


def test_bandwidth_by_hand() -> None:
    bandwidth = PaperBandwidth(phi=0.5, window_ms=1000.0)
    # 1000 bytes in 10 ms are 800 kbit/s.
    assert bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=10.0), 0.0) == pytest.approx(800e3)
    # Both together: 16,000 bits in 40 ms are 400 kbit/s; half of 800 and half of 400.
    assert bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=30.0), 30.0) == pytest.approx(600e3)


def test_bandwidth_when_samples_leave_the_window() -> None:
    bandwidth = PaperBandwidth(phi=0.0, window_ms=100.0)
    bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=10.0), 0.0)
    assert bandwidth.update(sample(message_bytes=100, arrival_spacing_ms=10.0), 101.0) == pytest.approx(80e3)


def test_bandwidth_ignores_the_first_frame_of_a_stream() -> None:
    bandwidth = PaperBandwidth()
    assert bandwidth.update(sample(arrival_spacing_ms=None), 0.0) is None
    bandwidth.update(sample(arrival_spacing_ms=30.0), 30.0)
    before_bps = bandwidth.bandwidth_bps
    assert bandwidth.update(sample(arrival_spacing_ms=None), 60.0) == pytest.approx(before_bps)


def test_bandwidth_of_a_thin_stream_is_its_own_rate() -> None:
    # The known weakness of eq. 15: the link carries 50 Mbit/s.
    link, bandwidth = FakeBottleneck(capacity_bps=50e6), PaperBandwidth()
    for number in range(200):
        bandwidth.update(*link.send(number * 33.0, 300))
    assert bandwidth.bandwidth_bps == pytest.approx(300 * 8 / 0.033, rel=0.01)


@pytest.mark.parametrize(("phi", "window_ms"), [(-0.1, 1.0), (1.0, 1.0), (0.5, 0.0)])
def test_bandwidth_parameters_out_of_range(phi: float, window_ms: float) -> None:
    with pytest.raises(ValueError, match="is not"):
        PaperBandwidth(phi, window_ms)


def test_delay_by_hand() -> None:
    delay = PaperDelay(half_life_ms=100.0)
    assert delay.update(sample(rtt_ms=10.0), 0.0) == pytest.approx(10.0)
    # One half-life later: (0.5 * 10 + 1 * 40) / 1.5.
    assert delay.update(sample(rtt_ms=40.0), 100.0) == pytest.approx(30.0)


def test_delay_after_a_long_idle_time_is_the_new_round_trip() -> None:
    delay = PaperDelay(half_life_ms=100.0, window_ms=1000.0)
    delay.update(sample(rtt_ms=10.0), 0.0)
    assert delay.update(sample(rtt_ms=500.0), 60_000.0) == pytest.approx(500.0)


def test_delay_before_the_first_sample() -> None:
    assert PaperDelay().delay_ms is None
