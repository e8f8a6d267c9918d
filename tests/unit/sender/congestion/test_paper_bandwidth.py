import pytest

from sender.congestion.paper_bandwidth import PaperBandwidth
from tests.support.link_samples import FakeBottleneck, sample


def test_update_by_hand() -> None:
    bandwidth = PaperBandwidth(phi=0.5, window_ms=1000.0)
    # 1000 bytes in 10 ms are 800 kbit/s.
    assert bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=10.0), 0.0) == pytest.approx(800e3)
    # Both together: 16,000 bits in 40 ms are 400 kbit/s; half of 800 and half of 400.
    assert bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=30.0), 30.0) == pytest.approx(600e3)


def test_update_when_samples_leave_the_window() -> None:
    bandwidth = PaperBandwidth(phi=0.0, window_ms=100.0)
    bandwidth.update(sample(message_bytes=1000, arrival_spacing_ms=10.0), 0.0)
    assert bandwidth.update(sample(message_bytes=100, arrival_spacing_ms=10.0), 101.0) == pytest.approx(80e3)


def test_first_frame_of_a_stream_has_no_interval() -> None:
    bandwidth = PaperBandwidth()
    assert bandwidth.update(sample(arrival_spacing_ms=None), 0.0) is None
    bandwidth.update(sample(arrival_spacing_ms=30.0), 30.0)
    before_bps = bandwidth.bandwidth_bps
    assert bandwidth.update(sample(arrival_spacing_ms=None), 60.0) == pytest.approx(before_bps)


def test_known_trap_a_thin_stream_on_a_fast_link_reads_its_own_rate() -> None:
    link, bandwidth = FakeBottleneck(capacity_bps=50e6), PaperBandwidth()
    for number in range(200):
        bandwidth.update(*link.send(number * 33.0, 300))
    assert bandwidth.bandwidth_bps == pytest.approx(300 * 8 / 0.033, rel=0.01)


@pytest.mark.parametrize(("phi", "window_ms"), [(-0.1, 1.0), (1.0, 1.0), (0.5, 0.0)])
def test_parameters_out_of_range_are_refused(phi: float, window_ms: float) -> None:
    with pytest.raises(ValueError, match="is not"):
        PaperBandwidth(phi, window_ms)
