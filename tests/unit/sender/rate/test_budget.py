import pytest

from sender.rate.budget import ByteBudget
from tests.unit.sender.rate.samples import sample

FPS = 30.0
CAPACITY_BPS = 8e6
FITTING = int(0.4 * CAPACITY_BPS / 8 / FPS)


def _acknowledged(budget: ByteBudget, sequence: int, now_ms: float, *, rtt_ms: float = 60.0) -> None:
    budget.acknowledged(sample(rtt_ms=rtt_ms, sequence=sequence), now_ms)


def _known() -> ByteBudget:
    """Of a link with a round trip of 60 ms."""
    budget = ByteBudget(headroom=0.4)
    budget.sent(0, 100, 0.0)
    _acknowledged(budget, 0, 60.0)
    return budget


@pytest.mark.parametrize(("capacity_bps", "rate_hz"), [(None, FPS), (CAPACITY_BPS, 0.0)])
def test_nothing_before_the_link_is_known(capacity_bps: float | None, rate_hz: float) -> None:
    assert _known().frame_bytes(capacity_bps, rate_hz, 70.0) == 0
    assert ByteBudget().frame_bytes(CAPACITY_BPS, FPS, 0.0) == 0


def test_frames_share_what_the_headroom_leaves_of_the_capacity() -> None:
    assert _known().frame_bytes(CAPACITY_BPS, FPS, 70.0) == pytest.approx(FITTING, abs=1)


def test_what_the_way_does_not_hold_stands_in_a_queue_and_is_taken_off() -> None:
    budget = _known()
    budget.sent(1, 60_000, 70.0)  # 60 ms of this link
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 71.0) == pytest.approx(FITTING, rel=0.2)
    budget.sent(2, 10_000, 72.0)
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 73.0) < FITTING - 9000


def test_nothing_while_a_frame_is_overdue_and_then_by_steps() -> None:
    budget = _known()
    budget.sent(1, 10_000, 100.0)
    # 60 ms there and back, 5 ms at the receiver, 10 ms for its own bits, 15 ms of grace.
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 188.0) > 0
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 193.0) == 0
    _acknowledged(budget, 1, 400.0, rtt_ms=300.0)
    first = budget.frame_bytes(CAPACITY_BPS, FPS, 401.0)
    assert 0 < first < 0.2 * FITTING
    for number in range(2, 40):
        budget.sent(number, 100, number * 300.0)
        _acknowledged(budget, number, number * 300.0 + 61.0)
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 40 * 300.0) == pytest.approx(FITTING, abs=1)


def test_a_link_that_stood_still_is_trusted_with_less_for_a_while() -> None:
    budget = _known()
    now_ms, risked = 100.0, []
    for sequence in range(1, 4):
        budget.sent(sequence * 100, 100, now_ms)
        # However often it is asked, one standstill counts once.
        assert [budget.frame_bytes(CAPACITY_BPS, FPS, now_ms + late_ms) for late_ms in (300.0, 400.0, 500.0)] == [
            0,
            0,
            0,
        ]
        for number in range(40):
            _acknowledged(budget, sequence * 100 + number, now_ms + 500.0 + number)
        now_ms += 1000.0
        risked.append(budget.frame_bytes(CAPACITY_BPS, FPS, now_ms))
    assert risked == pytest.approx([FITTING * each for each in (0.56, 0.32, 0.18)], rel=0.03)
    for number in range(1000):
        _acknowledged(budget, 1000 + number, now_ms + number)
    assert budget.frame_bytes(CAPACITY_BPS, FPS, now_ms + 1000.0) == pytest.approx(FITTING, abs=1)


def test_the_longer_the_way_the_more_headroom() -> None:
    shares = []
    for rtt_ms in (10.0, 60.0, 200.0, 300.0):
        budget = ByteBudget(headroom=0.6)
        _acknowledged(budget, 0, 0.0, rtt_ms=rtt_ms)
        shares.append(budget.frame_bytes(CAPACITY_BPS, FPS, 1.0) * 8 * FPS / CAPACITY_BPS)
    assert shares[0] == pytest.approx(0.6, abs=0.01)
    # At an eighth of the rate, what is sent in a round trip, a frame and the grace takes less than half a second.
    unwitting_s = [each + 1 / FPS + 0.015 for each in (0.01, 0.06, 0.2, 0.3)]
    assert all(8 * share * each < 0.5 for share, each in zip(shares, unwitting_s, strict=True))
    assert shares == sorted(shares, reverse=True)


def test_a_new_stream_owes_nothing_for_the_old_one() -> None:
    budget = _known()
    budget.sent(1, 10_000, 100.0)
    budget.restart()
    assert budget.frame_bytes(CAPACITY_BPS, FPS, 5000.0) > 0
