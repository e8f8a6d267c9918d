"""Priorities before fair shares: who leaves first, that nobody starves, and that limits hold over all priorities."""

from collections import Counter
from dataclasses import dataclass

from receiver.engine.engine import Priority
from receiver.engine.priority_queue import PriorityQueue


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


def test_sessions_of_one_priority_share_fairly() -> None:
    queue = queue_of(*jobs("a", Priority.LIVE, 4), *jobs("b", Priority.LIVE, 4))
    assert [job.account for job in take(queue, 4)] == ["a", "b", "a", "b"]


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


def test_job_that_is_held_back_leaves_its_place_to_others() -> None:
    queue = queue_of(Job("a", Priority.LIVE), Job("b", Priority.UPLOAD))
    assert queue.take(2, per_account=2, per_session=1, begun=[("a", "session")]) == [Job("b", Priority.UPLOAD)]
    assert len(queue) == 1 and queue.sessions == {("a", "session")}


def test_removed_jobs_do_not_leave() -> None:
    queue = queue_of(Job("a", Priority.UPLOAD, 1), Job("a", Priority.LIVE, 2))
    queue.remove("a", "session", lambda job: job.number == 1)
    assert take(queue, 2) == [Job("a", Priority.LIVE, 2)]


def test_batch_has_at_most_the_limit_of_each_account_and_session() -> None:
    queue = PriorityQueue[tuple[str, str]](lambda job: job, lambda job: Priority.LIVE)
    for job in [*[("one", "a")] * 5, *[("one", "b")] * 5, *[("two", "c")] * 5]:
        queue.put(job)
    begun = [("one", "a"), ("two", "c")]
    assert queue.take(8, per_account=2, per_session=1, begun=begun) == [("one", "b")]
    assert queue.take(8, per_account=1, per_session=8, begun=begun) == []
    assert Counter(session for _, session in queue.take(8, per_account=3, per_session=2)) == {"a": 2, "b": 1, "c": 2}
    assert len(queue) == 9
