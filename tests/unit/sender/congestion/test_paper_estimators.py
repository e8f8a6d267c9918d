import pytest

from sender.congestion.capacity import PaperBandwidth, PaperDelay
from tests.support.link.link_samples import sample


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
