from sender.congestion.pacing import BackgroundPacer
from tests.support.link.link_samples import sample

CAPACITY_BPS = 8e6
FREE = 10_000.0


def _acknowledged(pacer: BackgroundPacer, sequence: int, now_ms: float, *, rtt_ms: float = 60.0) -> None:
    pacer.acknowledged(sample(rtt_ms=rtt_ms, sequence=sequence), now_ms)


def _measured() -> BackgroundPacer:
    """The pacer of a link with a round trip of 60 ms."""
    pacer = BackgroundPacer()
    pacer.sent(0, 100, 0.0)
    _acknowledged(pacer, 0, 60.0)
    return pacer


def test_nothing_before_the_link_is_measured() -> None:
    assert _measured().allowed_bytes(0, None, FREE, 70.0) == 0
    assert BackgroundPacer().allowed_bytes(0, CAPACITY_BPS, FREE, 0.0) == 0


def test_bytes_in_flight_grow_with_the_time_without_a_stall() -> None:
    pacer = _measured()
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 60.0) == 200
    pacer.sent(1, 100, 30_000.0)
    _acknowledged(pacer, 1, 30_060.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 30_060.0) == 500
    assert pacer.allowed_bytes(350, CAPACITY_BPS, FREE, 30_060.0) == 150
    assert pacer.allowed_bytes(450, CAPACITY_BPS, FREE, 30_060.0) == 0


def test_transmission_fits_the_gap_before_the_next_frame() -> None:
    assert _measured().allowed_bytes(0, 100e3, FREE, 70.0) == 125  # 10 ms


def test_pause_while_a_frame_is_overdue_and_after_it() -> None:
    pacer = _measured()
    pacer.sent(1, 10_000, 100.0)
    # Round trip 60 ms, receiver 5 ms, transmission 10 ms, tolerance 15 ms.
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 188.0) > 0
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 193.0) == 0
    _acknowledged(pacer, 1, 200.0, rtt_ms=100.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 600.0) == 0
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 700.0) > 0


def test_longer_pause_after_a_stall() -> None:
    pacer = _measured()
    _acknowledged(pacer, 1, 1000.0, rtt_ms=500.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 10_900.0) == 0
    _acknowledged(pacer, 2, 11_000.0)
    # The allowance starts again.
    assert 200 < pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 11_100.0) < 320
