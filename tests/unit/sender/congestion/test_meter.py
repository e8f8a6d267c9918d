import numpy as np
import pytest

from sender.congestion.pacing import Meter


@pytest.mark.parametrize("budget_kbit", [5.0, 50.0])
def test_frames_share_the_budget_with_everything_else_and_leave_evenly(budget_kbit: float) -> None:
    meter, sent_ms, bits = Meter(1e3 * budget_kbit), [], 0.0
    for now_ms in range(60_000):
        if now_ms % 1000 == 0:
            meter.spend(100, now_ms, labels=False)
            bits += 800
        if meter.frame_wait_ms(now_ms) == 0.0:
            sent_ms.append(now_ms)
            meter.spend(250, now_ms)
            bits += 2000
            assert now_ms < 100 or meter.frame_wait_ms(now_ms) > 0
    assert 0.9 < bits / 60e3 / budget_kbit < 1.0
    spacing_ms = np.diff([at_ms for at_ms in sent_ms if at_ms >= 1000])
    assert spacing_ms.max() < 1.3 * spacing_ms.min()


def test_a_frame_that_has_waited_gives_way_to_one_that_comes_soon() -> None:
    meter = Meter(8000.0)
    meter.spend(180.0, 1000.0)  # 187 ms, of which 80 are a credit
    free_ms = 1000.0 + meter.frame_wait_ms(1000.0)
    assert free_ms == pytest.approx(1107.0, abs=1.0)
    assert meter.frame_wait_ms(free_ms, offered_ms=free_ms - 20.0) == pytest.approx(40.0)
    assert meter.frame_wait_ms(free_ms + 13.0, offered_ms=free_ms + 13.0) == 0.0
    assert meter.frame_wait_ms(free_ms + 40.0, offered_ms=free_ms - 20.0) == 0.0


def test_a_frame_that_is_let_go_waits_for_nothing_and_is_counted() -> None:
    meter = Meter(1.2e3)
    meter.spend(150, 0.0)
    meter.let_frame_go()
    meter.spend(50, 0.0, labels=False)
    assert meter.frame_wait_ms(0.0) == 0.0
    meter.spend(76, 0.0)
    assert meter.frame_wait_ms(0.0) > 900.0


def test_blobs_have_a_share() -> None:
    meter, data_bytes = Meter(20_000.0), 0.0
    for now_ms in range(0, 60_000, 33):
        if now := meter.blob_bytes(now_ms):
            meter.blob_sent(now, now_ms)
            data_bytes += now
    # A quarter of 2500 bytes a second, headers and answers included.
    assert 0.5 * 625 < data_bytes / 60 < 625


def test_a_handshake_is_paid_by_the_time_that_it_takes() -> None:
    for took_ms, waits_ms in ((10_000.0, 0.0), (100.0, 1000.0)):
        meter = Meter(2400.0)
        meter.connecting(5000.0)
        meter.spend(2900.0, 5000.0 + took_ms, labels=False)
        assert meter.frame_wait_ms(5000.0 + took_ms) == waits_ms
        meter.spend(600.0, 5000.0 + took_ms, labels=False)
        assert meter.frame_wait_ms(5000.0 + took_ms) > 900.0, "it has paid nothing else"
