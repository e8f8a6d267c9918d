import pytest

from sender.congestion.pacer import BackgroundPacer
from tests.support.link_samples import sample

CAPACITY_BPS = 8e6
FREE = 10_000.0


def _acknowledged(pace: BackgroundPacer, sequence: int, now_ms: float, *, rtt_ms: float = 60.0) -> None:
    pace.acknowledged(sample(rtt_ms=rtt_ms, sequence=sequence), now_ms)


def _known() -> BackgroundPacer:
    """Of a link with a round trip of 60 ms."""
    pace = BackgroundPacer()
    pace.sent(0, 100, 0.0)
    _acknowledged(pace, 0, 60.0)
    return pace


def test_nothing_before_the_link_is_known() -> None:
    assert _known().allowed_bytes(0, None, FREE, 70.0) == 0
    assert BackgroundPacer().allowed_bytes(0, CAPACITY_BPS, FREE, 0.0) == 0


def test_the_longer_the_calm_the_more_may_be_on_its_way() -> None:
    pace = _known()
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 60.0) == 200
    pace.sent(1, 100, 30_000.0)
    _acknowledged(pace, 1, 30_060.0)
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 30_060.0) == 500
    assert pace.allowed_bytes(350, CAPACITY_BPS, FREE, 30_060.0) == 150
    assert pace.allowed_bytes(450, CAPACITY_BPS, FREE, 30_060.0) == 0


def test_it_takes_no_longer_than_the_gap_before_the_next_frame() -> None:
    assert _known().allowed_bytes(0, 100e3, FREE, 70.0) == 125  # 10 ms


@pytest.mark.parametrize(("capacity_bps", "free_bytes"), [(60e3, FREE), (CAPACITY_BPS, 90.0), (CAPACITY_BPS, -50.0)])
def test_nothing_where_it_would_be_mostly_headers_or_frames_leave_nothing(
    capacity_bps: float, free_bytes: float
) -> None:
    assert _known().allowed_bytes(0, capacity_bps, free_bytes, 70.0) == 0


def test_nothing_while_a_frame_is_overdue_nor_soon_after() -> None:
    pace = _known()
    pace.sent(1, 10_000, 100.0)
    # 60 ms there and back, 5 ms at the receiver, 10 ms for its own bits, 15 ms of grace.
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 188.0) > 0
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 193.0) == 0
    _acknowledged(pace, 1, 200.0, rtt_ms=100.0)
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 600.0) == 0
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 700.0) > 0


def test_a_link_that_stood_still_is_left_alone_for_longer() -> None:
    pace = _known()
    _acknowledged(pace, 1, 1000.0, rtt_ms=500.0)
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 10_900.0) == 0
    _acknowledged(pace, 2, 11_000.0)
    # What calm had earned is gone.
    assert 200 < pace.allowed_bytes(0, CAPACITY_BPS, FREE, 11_100.0) < 320


def test_a_new_stream_owes_nothing_for_the_old_one() -> None:
    pace = _known()
    pace.sent(1, 10_000, 100.0)
    pace.restart()
    assert pace.allowed_bytes(0, CAPACITY_BPS, FREE, 5000.0) > 0
