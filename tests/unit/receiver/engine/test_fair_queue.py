"""Hierarchical fair queueing: equal shares of accounts, then of sessions; order in a session; bounded memory."""

import heapq
import itertools
from collections import Counter
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.engine import fair_queue
from receiver.engine.fair_queue import FairQueue

# (account, session) of a job that arrives, or None: one job leaves.
STEPS = st.lists(st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=80)


class OneLevelQueue:
    """Start-time fair queueing among sessions as published, each job of cost 1: the reference."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Hashable, int]] = []
        self._finish: dict[Hashable, int] = {}
        self._virtual_time = 0
        self._arrival = itertools.count()

    def put(self, session: Hashable, job: int) -> None:
        start = max(self._virtual_time, self._finish.get(session, 0))
        self._finish[session] = start + 1
        heapq.heappush(self._heap, (start, next(self._arrival), session, job))

    def take(self) -> list[int]:
        if not self._heap:
            return []
        start, _, _, job = heapq.heappop(self._heap)
        self._virtual_time = max(self._virtual_time, start)
        return [job]


def filled(*streams: tuple[str, str, int]) -> FairQueue[str]:
    """A queue with jobs named after their sessions; of each stream account, session and number of jobs."""
    queue: FairQueue[str] = FairQueue()
    for account, session, count in streams:
        for _ in range(count):
            queue.put(account, session, session)
    return queue


def test_one_session_keeps_its_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for job in range(5):
        queue.put("account", "a", job)
    assert [queue.take(1) for _ in range(5)] == [[0], [1], [2], [3], [4]]


def test_backlog_of_one_session_does_not_delay_another() -> None:
    queue = filled(("one", "backlog", 100))
    assert queue.take(1) == ["backlog"]
    queue.put("two", "live", "live")
    assert "live" in queue.take(2)


def test_sessions_do_not_multiply_the_share_of_their_account() -> None:
    queue = filled(*(("hostile", f"h{number}", 40) for number in range(8)), ("honest", "honest", 40))
    taken = Counter(queue.take(1)[0] for _ in range(40))
    assert taken.pop("honest") == 20
    assert max(taken.values()) - min(taken.values()) <= 1


def test_sessions_of_one_account_share_equally() -> None:
    queue = filled(("account", "crowd", 100), ("account", "single", 100))
    assert Counter(queue.take(1)[0] for _ in range(50)) == {"crowd": 25, "single": 25}


def test_idle_session_gains_no_credit() -> None:
    queue = filled(("one", "busy", 100))
    for _ in range(50):
        queue.take(1)
    for _ in range(50):
        queue.put("two", "late", "late")
    assert Counter(queue.take(1)[0] for _ in range(20)) == {"busy": 10, "late": 10}


def test_batch_has_at_most_the_limit_of_each_account_and_session() -> None:
    queue = filled(("one", "a", 5), ("one", "b", 5), ("two", "c", 5))
    assert Counter(queue.take(8, per_account=3, per_session=2)) == {"a": 2, "b": 1, "c": 2}
    assert Counter(queue.take(2)) == {"c": 1, "b": 1}
    assert len(queue) == 8


def test_jobs_taken_before_count_in_the_limits() -> None:
    queue = filled(("one", "a", 5), ("one", "b", 5), ("two", "c", 5))
    assert queue.take(8, per_account=2, per_session=1, begun=[("one", "a"), ("two", "c")]) == ["b"]
    assert queue.take(8, per_account=1, begun=[("one", "a"), ("two", "c")]) == []


def test_removed_jobs_do_not_leave_and_are_not_charged() -> None:
    queue = filled(("one", "withdrawn", 30), ("two", "other", 3))
    queue.remove("one", "withdrawn", lambda job: True)
    assert queue.sessions == {("two", "other")}
    queue.put("one", "next", "next")
    assert queue.take(1) == ["next"]
    queue.remove("three", "unknown", lambda job: True)
    assert [queue.take(1) for _ in range(4)] == [["other"], ["other"], ["other"], []]


def test_job_that_replaces_a_removed_one_takes_its_place() -> None:
    queue: FairQueue[str] = FairQueue()
    for account in "abc":
        queue.put(account, account, account)
    for _ in range(3):
        queue.remove("b", "b", lambda job: True)
        queue.put("b", "b", "newer b")
    assert queue.take(3) == ["a", "newer b", "c"]


def test_place_of_a_removed_job_expires() -> None:
    queue = filled(("a", "a", 1), ("b", "b", 6))
    queue.remove("a", "a", lambda job: True)
    queue.take(5)
    queue.put("c", "c", "c")
    queue.put("a", "a", "a")
    assert queue.take(3) == ["c", "a", "b"]


@given(STEPS)
def test_one_session_per_account_is_start_time_fair_queueing(steps: list[tuple[int, int] | None]) -> None:
    queue: FairQueue[int] = FairQueue()
    reference = OneLevelQueue()
    for number, step in enumerate([*steps, *[None] * len(steps)]):
        if step is None:
            assert queue.take(1) == reference.take()
        else:
            queue.put(step[0], "only", number)
            reference.put(step[0], number)


@given(STEPS, st.integers(1, 10), st.integers(1, 4), st.integers(1, 4))
def test_every_job_leaves_once_and_sessions_keep_their_order(
    steps: list[tuple[int, int] | None], budget: int, per_account: int, per_session: int
) -> None:
    queue: FairQueue[tuple[tuple[int, int], int]] = FairQueue()
    taken = []
    for number, step in enumerate(steps):
        if step is None:
            taken += queue.take(budget, per_account=per_account, per_session=per_session)
        else:
            queue.put(*step, (step, number))
    while queue:
        taken += queue.take(budget, per_account=per_account, per_session=per_session)
    arrived = [(step, number) for number, step in enumerate(steps) if step is not None]
    assert sorted(taken) == sorted(arrived)
    for session in {step for step, _ in arrived}:
        assert [job for job in taken if job[0] == session] == [job for job in arrived if job[0] == session]


@given(STEPS, st.integers(1, 40))
def test_backlogged_accounts_and_sessions_get_equal_work_after_any_history(
    steps: list[tuple[int, int] | None], services: int
) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for step in steps:
        if step is None:
            queue.take(1)
        else:
            queue.put(*step, step)
    owners = [(0, 0), (1, 0), (1, 1)]
    for owner in owners:
        for _ in range(services):
            queue.put(*owner, owner)
    served = Counter(queue.take(1)[0] for _ in range(services))
    work = Counter({account: sum(n for (a, _), n in served.items() if a == account) for account in (0, 1)})
    # The bound of start-time fair queueing for jobs of cost 1.
    assert abs(work[0] - work[1]) <= 2
    assert abs(served[1, 0] - served[1, 1]) <= 2


@given(STEPS, st.integers(1, 4))
def test_job_of_another_account_waits_for_at_most_two_of_each_other(
    steps: list[tuple[int, int] | None], sessions: int
) -> None:
    queue: FairQueue[str] = FairQueue()
    for step in steps:
        if step is None:
            queue.take(1)
        else:
            queue.put(*step, "other")
    for session in range(sessions):
        for _ in range(50):
            queue.put("hostile", session, "hostile")
    queue.put("honest", "honest", "honest")
    before = Counter(itertools.takewhile(lambda job: job != "honest", (queue.take(1)[0] for _ in range(500))))
    assert before["hostile"] <= 2 and before["other"] <= 2 * 4


def test_memory_is_bounded_while_sessions_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "_MAX_IDLE_MEMBERS", 10)
    queue = filled(("one", "waits", 1))
    for number in range(300):
        queue.put("one", number, "short")
        queue.put(f"account {number}", number, "short")
        queue.take(2)
        assert queue.remembered <= 1 + 2 * (1 + 10) + 2 * 10


def test_memory_is_bounded_while_requests_are_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "_MAX_IDLE_MEMBERS", 10)
    queue = filled(("one", "waits", 100))
    for number in range(100):
        queue.put("two", number, "short")
        queue.remove("two", number, lambda job: True)
        queue.take(1)
    assert len(queue) == 0 and queue.remembered <= 2 * (1 + 10)
