"""Start-time fair queueing: shares by cost, order within a session, no credit for idle time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.engine.fair_queue import FairQueue


def test_one_session_keeps_its_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for job in range(5):
        queue.put("a", job, cost=1 + job % 2)
    assert [queue.take(1) for _ in range(5)] == [[0], [1], [2], [3], [4]]


def test_backlog_of_one_session_does_not_delay_another() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put("backlog", f"b{number}", cost=1)
    assert queue.take(1) == ["b0"]
    queue.put("live", "l0", cost=1)
    assert "l0" in queue.take(2)


def test_sessions_share_by_cost_not_by_jobs() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(300):
        queue.put("crowd", "crowd", cost=4)
        queue.put("single", "single", cost=1)
    taken = Counter(queue.take(1)[0] for _ in range(250))
    assert taken["single"] == pytest.approx(4 * taken["crowd"], rel=0.05)


def test_idle_session_gains_no_credit() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(50):
        queue.put("busy", "busy", cost=1)
        queue.take(1)
    for _ in range(50):
        queue.put("busy", "busy", cost=1)
        queue.put("late", "late", cost=1)
    assert Counter(queue.take(1)[0] for _ in range(20)) == {"busy": 10, "late": 10}


def test_batch_takes_several_sessions_within_the_budget() -> None:
    queue: FairQueue[str] = FairQueue()
    for session, cost in (("a", 2), ("b", 3), ("c", 4)):
        queue.put(session, session, cost)
    assert queue.take(8) == ["a", "b"]
    assert queue.sessions == {"c"}


def test_job_above_the_budget_leaves_alone() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("crowd", "crowd", cost=32)
    queue.put("single", "single", cost=1)
    assert queue.take(8) == ["crowd"]
    assert queue.take(8) == ["single"]
    assert queue.take(8) == []


def test_cost_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FairQueue[int]().put("a", 0, cost=0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=60), st.integers(1, 10))
def test_every_job_leaves_once_and_sessions_keep_their_order(jobs: list[tuple[int, int]], budget: int) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for number, (session, cost) in enumerate(jobs):
        queue.put(session, (session, number), cost)
    taken: list[tuple[int, int]] = []
    while queue:
        taken += queue.take(budget)
    assert len(taken) == len(jobs)
    for session in range(4):
        assert [number for owner, number in taken if owner == session] == [
            number for number, (owner, _) in enumerate(jobs) if owner == session
        ]
