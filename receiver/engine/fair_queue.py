"""Hierarchical start-time fair queueing: accounts share an engine equally, and so do the sessions of each account.

What counts is the work that they cause, not the number of their sessions or the length of their queues.

Source: Goyal, Guo, Vin, "A Hierarchical CPU Scheduler for Multimedia Operating Systems", OSDI 1996, and Goyal, Vin,
Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Pure: no clocks, no threads.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

from receiver.engine.engine import Priority

Job = TypeVar("Job")

# Most members whose last jobs one level remembers. Forgetting one gives it at most the work of one batch.
_MOST_REMEMBERED = 256

# Of this many jobs one is of a lower priority that waits: it is slow beside a busy higher one, but never stopped.
_LOWER_EVERY = 8


class _FairShares:
    """One level: equal shares among the members that have jobs waiting; each job is one unit of work.

    A member's start tag is the virtual time, or the finish tag of its previous job if that is later; its finish tag is
    one more. The smallest start tag is next. So members that always have jobs waiting get equal shares, and one that
    was idle has no credit for that time.
    """

    def __init__(self) -> None:
        self._virtual_time = 0
        # Those that are later than the virtual time.
        self._finish_tags: dict[Hashable, int] = {}

    def start_tag(self, member: Hashable) -> int:
        """Of the member's next job."""
        return self._finish_tags.get(member, self._virtual_time)

    def serve(self, member: Hashable) -> None:
        """Charges a member for one job."""
        self._virtual_time = self.start_tag(member)
        self._finish_tags.pop(member, None)
        self._finish_tags[member] = self._virtual_time + 1
        later = [each for each in self._finish_tags.items() if each[1] > self._virtual_time]
        self._finish_tags = dict(later[-_MOST_REMEMBERED:])


class FairQueue(Generic[Job]):
    """Jobs of several accounts and their sessions; those of one session leave in the order in which they came.

    Accounts share equally as long as they have jobs waiting, and so do the sessions within each account. An account
    or session that was idle has no credit for that time. With one session per account this is start-time fair
    queueing among the sessions. An account without jobs is forgotten by its sessions, and a queue without jobs by all.
    """

    def __init__(self) -> None:
        self._shares = _FairShares()
        self._shares_of: dict[Hashable, _FairShares] = {}
        # By account and session, those first that came or were served first.
        self._jobs: dict[Hashable, dict[Hashable, deque[Job]]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for sessions in self._jobs.values() for queue in sessions.values())

    def put(self, account: Hashable, session: Hashable, job: Job) -> None:
        """Appends a job to its session's queue."""
        self._shares_of.setdefault(account, _FairShares())
        self._jobs.setdefault(account, {}).setdefault(session, deque()).append(job)

    def take(self, may_leave: Callable[[Hashable, Hashable], bool] = lambda account, session: True) -> Job | None:
        """Removes and returns the next job whose account and session `may_leave`; None if there is none."""
        for account in sorted(self._jobs, key=self._shares.start_tag):
            for session in sorted(self._jobs[account], key=self._shares_of[account].start_tag):
                if may_leave(account, session):
                    return self._taken(account, session)
        return None

    def _taken(self, account: Hashable, session: Hashable) -> Job:
        self._shares.serve(account)
        self._shares_of[account].serve(session)
        sessions = self._jobs.pop(account)
        queue = sessions.pop(session)
        job = queue.popleft()
        self._jobs[account], sessions[session] = sessions, queue
        self._forget_idle(account, session)
        return job

    def remove(self, account: Hashable, session: Hashable, unwanted: Callable[[Job], bool]) -> None:
        """Removes the `unwanted` jobs of a session, which is not charged for them."""
        queue = self._jobs.get(account, {}).get(session)
        if queue is not None:
            self._jobs[account][session] = deque(job for job in queue if not unwanted(job))
            self._forget_idle(account, session)

    def _forget_idle(self, account: Hashable, session: Hashable) -> None:
        if not self._jobs[account][session]:
            del self._jobs[account][session]
        if not self._jobs[account]:
            del self._jobs[account], self._shares_of[account]
        if not self._jobs:
            self._shares = _FairShares()


_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class FairExecutor:
    """Runs functions in threads; accounts take turns, then the sessions of each account."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._turns: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(
        self,
        account: Hashable,
        session: Hashable,
        function: Callable[_Parameters, _Result],
        *arguments: _Parameters.args,
        **named: _Parameters.kwargs,
    ) -> _Result:
        """Calls a function in a thread, when it is the session's turn, and returns its result."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.put(account, session, turn)
        self._give_turns()
        try:
            await turn
            return await loop.run_in_executor(self._pool, lambda: function(*arguments, **named))
        finally:
            if turn.cancelled():
                self._turns.remove(account, session, lambda each: each is turn)
            else:
                self._free += 1
                self._give_turns()

    def shutdown(self) -> None:
        """Waits for the functions that run, and ends the threads."""
        self._pool.shutdown()

    def _give_turns(self) -> None:
        while self._free and (turn := self._turns.take()) is not None:
            # A call that is cancelled leaves the queue only when its task resumes.
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)


class PriorityQueue(Generic[Job]):
    """A `FairQueue` for each priority; the jobs of the highest leave first, but for one in eight."""

    def __init__(self, key: Callable[[Job], tuple[Hashable, Hashable]], priority: Callable[[Job], Priority]) -> None:
        self._key, self._priority = key, priority
        self._queues: dict[Priority, FairQueue[Job]] = {level: FairQueue() for level in Priority}
        # How many jobs have left before those of a priority while they waited.
        self._passed_over = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

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
