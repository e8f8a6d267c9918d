"""Start-time fair queueing: sessions share an engine by the work they cause, not by the length of their queues.

Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Pure: no clocks, no threads.
"""

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class FairQueue(Generic[Job]):
    """Jobs of several sessions; those of one session leave in the order in which they came.

    A job's start tag is the virtual time at its arrival, or the finish tag of its session's previous job if that is
    later; its finish tag is the start tag plus its cost. The smallest start tag leaves first. So two sessions that
    always have work waiting get equal shares of it, and a session that was idle has no credit for that time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Hashable, Job]] = []
        self._finish: dict[Hashable, float] = {}
        self._virtual_time = 0.0
        self._arrival = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def sessions(self) -> set[Hashable]:
        """Sessions with a job in the queue."""
        return {session for *_, session, _ in self._heap}

    def put(self, session: Hashable, job: Job, cost: int) -> None:
        """Appends a job.

        Args:
            cost: its work, in any unit; at least 1.

        Raises:
            ValueError: the cost is below 1.
        """
        if cost < 1:
            raise ValueError(f"a job costs at least 1, got {cost}")
        start = max(self._virtual_time, self._finish.get(session, 0.0))
        self._finish[session] = start + cost
        heapq.heappush(self._heap, (start, next(self._arrival), cost, session, job))

    def take(self, budget: int) -> list[Job]:
        """Removes and returns the next jobs while their costs fit into `budget`, at least one if there is any."""
        taken: list[Job] = []
        while self._heap and (not taken or self._heap[0][2] <= budget):
            start, _, cost, _, job = heapq.heappop(self._heap)
            self._virtual_time = max(self._virtual_time, start)
            budget -= cost
            taken.append(job)
        # Tags in the past equal the virtual time: forgetting them changes nothing and keeps the table small.
        self._finish = {session: tag for session, tag in self._finish.items() if tag > self._virtual_time}
        return taken
