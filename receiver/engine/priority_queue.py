"""Fair queues in the order of their priorities."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from receiver.engine.engine import Priority
from receiver.engine.fair_queue import FairQueue

Job = TypeVar("Job")

# Of this many jobs one is of a lower priority that waits: it is slow beside a busy higher one, but never stopped.
_LOWER_EVERY = 8


class PriorityQueue(Generic[Job]):
    """A `FairQueue` for each priority; the jobs of the highest leave first, but for one in eight."""

    def __init__(self, key: Callable[[Job], tuple[Hashable, Hashable]], priority: Callable[[Job], Priority]) -> None:
        self._key, self._priority = key, priority
        self._queues: dict[Priority, FairQueue[Job]] = {level: FairQueue() for level in Priority}
        # How many jobs have left before those of a priority while they waited.
        self._passed_over = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def sessions(self) -> set[tuple[Hashable, Hashable]]:
        """Account and session of the jobs in the queues."""
        return {key for queue in self._queues.values() for key in queue.sessions}

    def put(self, job: Job) -> None:
        """Appends a job to its session's queue."""
        self._queues[self._priority(job)].put(*self._key(job), job)

    def take(
        self, budget: int, *, per_account: int, per_session: int, begun: Iterable[tuple[Hashable, Hashable]] = ()
    ) -> list[Job]:
        """Removes and returns the next jobs, at most `budget`.

        Args:
            per_account, per_session: most jobs of one account and of one session, over all priorities.
            begun: account and session of each job that was taken before and counts in these limits.
        """
        taken: list[Job] = []
        by_session = Counter(begun)
        by_account = Counter(account for account, _ in by_session.elements())

        def may_leave(account: Hashable, session: Hashable) -> bool:
            return by_account[account] < per_account and by_session[account, session] < per_session

        while len(taken) < budget and (job := self._take_one(may_leave)) is not None:
            taken.append(job)
            by_session[self._key(job)] += 1
            by_account[self._key(job)[0]] += 1
        return taken

    def _take_one(self, may_leave: Callable[[Hashable, Hashable], bool]) -> Job | None:
        for level in self._order():
            if (job := self._queues[level].take(may_leave)) is not None:
                self._left(level)
                return job
        return None

    def remove(self, account: Hashable, session: Hashable, unwanted: Callable[[Job], bool]) -> None:
        """Removes the jobs of a session for which `unwanted` is true; see `FairQueue.remove`."""
        for queue in self._queues.values():
            queue.remove(account, session, unwanted)

    def _order(self) -> list[Priority]:
        """The priorities that have jobs waiting, the next one first."""
        waiting = [level for level, queue in self._queues.items() if queue]
        return sorted(waiting, key=lambda level: (self._passed_over[level] < _LOWER_EVERY - 1, level))

    def _left(self, served: Priority) -> None:
        self._passed_over[served] = 0
        for level, queue in self._queues.items():
            if level > served:
                self._passed_over[level] = self._passed_over[level] + 1 if queue else 0
