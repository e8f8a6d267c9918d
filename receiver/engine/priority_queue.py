"""Fair queues in the order of their priorities."""

from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

from receiver.engine.engine import Priority
from receiver.engine.fair_queue import FairQueue

Job = TypeVar("Job")

# Of this many jobs one is of a lower priority that waits: it is slow beside a busy higher one, but never stopped.
_LOWER_EVERY = 8


class PriorityQueue(Generic[Job]):
    """A `FairQueue` for each priority; the jobs of the highest leave first, but for one in eight.

    Args:
        key: account and session of a job.
        priority: of a job.
    """

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
        self,
        budget: int,
        *,
        per_account: int | None = None,
        per_session: int | None = None,
        begun: Collection[tuple[Hashable, Hashable]] = (),
    ) -> list[Job]:
        """Removes and returns the next jobs, at most `budget`; the limits hold over all priorities.

        Args:
            budget: most jobs.
            per_account, per_session, begun: see `FairQueue.take`.
        """
        taken: list[Job] = []
        most = (budget if per_account is None else per_account, budget if per_session is None else per_session)
        while len(taken) < budget:
            counted = [*begun, *map(self._key, taken)]
            for level in self._order():
                if job := self._queues[level].take(1, per_account=most[0], per_session=most[1], begun=counted):
                    taken += job
                    self._left(level)
                    break
            else:
                break
        return taken

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
