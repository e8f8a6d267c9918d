"""Hierarchical fair queueing: equal shares of accounts, then of sessions; order in a session; bounded memory."""

import asyncio
import itertools
import pickle
import threading
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.engine import batching
from receiver.engine.batching import FairExecutor, FairQueue, PriorityQueue
from receiver.engine.engine import Priority

# (account, session) of a job that arrives, or None: one job leaves.
STEPS = st.lists(st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=80)


class OneLevelTags:
    """Start-time fair queueing among sessions as published, each job of cost 1: the reference for the order."""

    def __init__(self) -> None:
        self._starts: dict[int, list[int]] = {}
        self._finish: dict[int, int] = {}
        self._virtual_time = 0

    def put(self, session: int) -> None:
        start = max(self._virtual_time, self._finish.get(session, 0))
        self._finish[session] = start + 1
        self._starts.setdefault(session, []).append(start)

    def take(self, session: int) -> None:
        """Takes a session's first job, which must be one with the smallest tag of all."""
        smallest = min(starts[0] for starts in self._starts.values() if starts)
        self._virtual_time = self._starts[session].pop(0)
        assert self._virtual_time == smallest
        if not any(self._starts.values()):
            # The end of a busy period.
            self._virtual_time = max(self._finish.values())


def filled(*streams: tuple[str, str, int]) -> FairQueue[str]:
    """A queue with jobs named after their sessions; of each stream account, session and number of jobs."""
    queue: FairQueue[str] = FairQueue()
    for account, session, count in streams:
        for _ in range(count):
            queue.put(account, session, session)
    return queue


def test_removed_jobs_do_not_leave_and_are_not_charged() -> None:
    queue = filled(("one", "withdrawn", 30), ("two", "other", 3))
    queue.remove("one", "withdrawn", lambda job: True)
    assert len(queue) == 3
    queue.put("one", "next", "next")
    queue.remove("three", "unknown", lambda job: True)
    assert [queue.take() for _ in range(5)] == ["other", "next", "other", "other", None]


def test_job_that_replaces_a_removed_one_waits_for_no_second_job_of_others() -> None:
    queue = filled(("a", "a", 3), ("b", "b", 1), ("c", "c", 3))
    for _ in range(3):
        queue.remove("b", "b", lambda job: True)
        queue.put("b", "b", "newer b")
    assert "newer b" in [queue.take() for _ in range(3)]


def test_session_whose_job_was_removed_gains_no_credit() -> None:
    queue = filled(("a", "a", 1), ("b", "b", 6))
    queue.remove("a", "a", lambda job: True)
    for _ in range(5):
        queue.take()
    queue.put("c", "c", "c")
    queue.put("a", "a", "a")
    assert [queue.take() for _ in range(3)] == ["c", "a", "b"]


@given(STEPS)
def test_one_session_per_account_is_start_time_fair_queueing(steps: list[tuple[int, int] | None]) -> None:
    queue: FairQueue[int] = FairQueue()
    reference = OneLevelTags()
    for step in [*steps, *[None] * len(steps)]:
        if step is not None:
            queue.put(step[0], "only", step[0])
            reference.put(step[0])
        elif (taken := queue.take()) is not None:
            reference.take(taken)
    assert not queue


@given(STEPS)
def test_every_job_leaves_once_and_sessions_keep_their_order(steps: list[tuple[int, int] | None]) -> None:
    queue: FairQueue[tuple[tuple[int, int], int]] = FairQueue()
    taken = []
    for number, step in enumerate([*steps, *[None] * len(steps)]):
        if step is not None:
            queue.put(*step, (step, number))
        elif (job := queue.take()) is not None:
            taken.append(job)
    arrived = [(step, number) for number, step in enumerate(steps) if step is not None]
    assert sorted(taken) == sorted(arrived) and not queue
    for session in {step for step, _ in arrived}:
        assert [job for job in taken if job[0] == session] == [job for job in arrived if job[0] == session]


@given(STEPS, st.integers(1, 40))
def test_backlogged_accounts_and_sessions_get_equal_work_after_any_history(
    steps: list[tuple[int, int] | None], services: int
) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for step in steps:
        if step is None:
            queue.take()
        else:
            queue.put(*step, step)
    owners = [(0, 0), (1, 0), (1, 1)]
    for owner in owners:
        for _ in range(services):
            queue.put(*owner, owner)
    served = Counter(job for _ in range(services) if (job := queue.take()))
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
            queue.take()
        else:
            queue.put(*step, "other")
    for session in range(sessions):
        for _ in range(50):
            queue.put("hostile", session, "hostile")
    queue.put("honest", "honest", "honest")
    before = Counter(itertools.takewhile(lambda job: job != "honest", (queue.take() for _ in range(500))))
    assert before["hostile"] <= 2 and before["other"] <= 2 * 4


def test_memory_is_bounded_while_sessions_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_MOST_REMEMBERED", 10)
    queue = filled(("one", "waits", 1))
    sizes = []
    for number in range(1000, 1300):
        queue.put("one", number, "short")
        queue.put(f"account {number}", number, "short")
        queue.take()
        queue.take()
        sizes.append(len(pickle.dumps(queue)))
    assert max(sizes[30:]) <= max(sizes[:30])


async def test_accounts_take_turns() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    first = asyncio.ensure_future(executor.run("other", "other", gate.wait, 10))
    waiting = [
        asyncio.ensure_future(executor.run("hostile", session, order.append, "hostile"))
        for session in range(4)
        for _ in range(2)
    ]
    waiting.append(asyncio.ensure_future(executor.run("honest", "honest", order.append, "honest")))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *waiting)
    executor.shutdown()
    assert order.index("honest") <= 1 and len(order) == 9


async def test_result_and_error_reach_the_caller() -> None:
    executor = FairExecutor(1, "test")
    assert await executor.run("a", "a", int, "12") == 12
    with pytest.raises(ValueError, match="invalid literal"):
        await executor.run("a", "a", int, "x")
    assert await executor.run("a", "a", int, "ff", base=16) == 255
    executor.shutdown()


async def test_cancelled_call_is_not_made_and_its_turn_goes_to_another() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    running = asyncio.ensure_future(executor.run("a", "a", gate.wait, 10))
    cancelled = asyncio.ensure_future(executor.run("b", "b", order.append, "cancelled"))
    kept = asyncio.ensure_future(executor.run("c", "c", order.append, "kept"))
    await asyncio.sleep(0)
    cancelled.cancel()
    running.cancel()
    await asyncio.gather(cancelled, running, return_exceptions=True)
    gate.set()
    await kept
    executor.shutdown()
    assert order == ["kept"]


async def test_thread_is_not_lost_when_a_running_and_a_waiting_call_are_cancelled_at_once() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    running = asyncio.ensure_future(executor.run("a", "a", gate.wait, 10))
    waiting = asyncio.ensure_future(executor.run("a", "a", order.append, "cancelled"))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    ends = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    gate.set()
    await asyncio.wait_for(executor.run("b", "b", order.append, "kept"), 10)
    executor.shutdown()
    assert order == ["kept"]


@dataclass(frozen=True)
class Job:
    account: str
    priority: Priority
    number: int = 0


def queue_of(*jobs: Job) -> PriorityQueue[Job]:
    queue = PriorityQueue[Job](lambda job: (job.account, "session"), lambda job: job.priority)
    for job in jobs:
        queue.put(job)
    return queue


def take(queue: PriorityQueue[Job], budget: int) -> list[Job]:
    return queue.take(budget, per_account=budget, per_session=budget)


def jobs(account: str, priority: Priority, count: int) -> list[Job]:
    return [Job(account, priority, number) for number in range(count)]


def test_live_leaves_before_upload_before_replay() -> None:
    replay, upload, live = Job("r", Priority.REPLAY), Job("u", Priority.UPLOAD), Job("l", Priority.LIVE)
    assert take(queue_of(replay, upload, live), 3) == [live, upload, replay]


def test_lower_priority_gets_one_of_eight_jobs() -> None:
    queue = queue_of(*jobs("upload", Priority.UPLOAD, 4), *jobs("live", Priority.LIVE, 40))
    order = [job.account for _ in range(24) for job in take(queue, 1)]
    assert [place for place, account in enumerate(order) if account == "upload"] == [7, 15, 23]


def test_lower_priority_has_no_credit_for_the_time_when_it_did_not_wait() -> None:
    queue = queue_of(*jobs("live", Priority.LIVE, 40))
    take(queue, 20)
    queue.put(Job("upload", Priority.UPLOAD))
    assert {job.account for job in take(queue, 7)} == {"live"}


def test_account_has_one_limit_for_all_its_priorities() -> None:
    queue = queue_of(*jobs("a", Priority.LIVE, 2), *jobs("a", Priority.UPLOAD, 2), Job("b", Priority.REPLAY))
    assert queue.take(5, per_account=2, per_session=5) == [*jobs("a", Priority.LIVE, 2), Job("b", Priority.REPLAY)]


def test_batch_has_at_most_the_limit_of_each_account_and_session() -> None:
    queue = PriorityQueue[tuple[str, str]](lambda job: job, lambda job: Priority.LIVE)
    for job in [*[("one", "a")] * 5, *[("one", "b")] * 5, *[("two", "c")] * 5]:
        queue.put(job)
    begun = [("one", "a"), ("two", "c")]
    assert queue.take(8, per_account=2, per_session=1, begun=begun) == [("one", "b")]
    assert queue.take(8, per_account=1, per_session=8, begun=begun) == []
    assert Counter(session for _, session in queue.take(8, per_account=3, per_session=2)) == {"a": 2, "b": 1, "c": 2}
    assert len(queue) == 9
