from common.clock import Clock
from common.connections import BeginRate


def test_account_begins_a_burst_of_sessions_and_then_one_per_second() -> None:
    now_s = 0.0
    rate = BeginRate(1.0, 3, Clock(lambda: now_s, lambda: 0.0))
    assert [rate.take("a") for _ in range(8)] == [True] * 3 + [False] * 5
    assert rate.take("b")
    now_s = 1.0
    assert [rate.take("a") for _ in range(2)] == [True, False]
    now_s = 100.0
    assert all(rate.take("a") for _ in range(3))


def test_memory_of_accounts_is_bounded() -> None:
    now_s = 0.0
    rate = BeginRate(1.0, 3, Clock(lambda: now_s, lambda: 0.0))
    for number in range(10_000):
        now_s += 0.01
        rate.take(str(number))
    assert len(rate._restored_s) <= 1024
