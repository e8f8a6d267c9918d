"""Hierarchical start-time fair queueing: accounts share an engine equally, and so do the sessions of each account.

What counts is the work that they cause, not the number of their sessions or the length of their queues.

Source: Goyal, Guo, Vin, "A Hierarchical CPU Scheduler for Multimedia Operating Systems", OSDI 1996, and Goyal, Vin,
Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Pure: no clocks, no threads.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

from receiver.engine.engine import Priority

Job = TypeVar("Job")

# Most idle members that one level remembers. Forgetting one gives it at most the work of one batch.
_MAX_IDLE_MEMBERS = 256

# Of this many jobs one is of a lower priority that waits: it is slow beside a busy higher one, but never stopped.
_LOWER_EVERY = 8


class _FairShares:
    """One level: equal shares among the members that have jobs waiting; each job is one unit of work.

    A member's start tag is the virtual time when its first job arrives, or the finish tag of its previous job if that
    is later; its finish tag is one more. The smallest start tag is next, among equal ones the job that arrived first.
    So members that always have jobs waiting get equal shares, and one that was idle has no credit for that time.
    """

    def __init__(self) -> None:
        self._virtual_time = 0
        self._waiting: dict[Hashable, tuple[int, int]] = {}
        # The finish tag; or start tag and arrival of a job that was withdrawn, so that its successor keeps its place.
        self._idle: dict[Hashable, tuple[int, int | None]] = {}

    def __contains__(self, member: Hashable) -> bool:
        return member in self._waiting or member in self._idle

    def __len__(self) -> int:
        """Number of members that are remembered."""
        return len(self._waiting) + len(self._idle)

    def in_order(self) -> list[Hashable]:
        """The members with jobs waiting, the next one first."""
        return sorted(self._waiting, key=self._waiting.__getitem__)

    def arrive(self, member: Hashable, arrival: int) -> None:
        """Handles the arrival of a member's only job."""
        tag, place = self._idle.pop(member, (0, None))
        if place is None or tag < self._virtual_time:
            tag, place = max(self._virtual_time, tag), arrival
        self._waiting[member] = (tag, place)

    def serve(self, member: Hashable, following: int | None) -> None:
        """Charges a member for one job; `following` is the arrival of its next job that waits, None without one."""
        start, _ = self._waiting.pop(member)
        self._virtual_time = max(self._virtual_time, start)
        if following is None:
            self._idle[member] = (start + 1, None)
        else:
            self._waiting[member] = (start + 1, following)

    def withdraw(self, member: Hashable) -> None:
        """Handles the removal of a member's last job; it is not charged."""
        self._idle[member] = self._waiting.pop(member)

    def forget(self) -> None:
        """Drops tags in the past, which equal the virtual time, and the oldest ones beyond the limit."""
        now = self._virtual_time
        kept = [
            (member, (tag, place))
            for member, (tag, place) in self._idle.items()
            if tag > now or (tag == now and place is not None)
        ]
        self._idle = dict(kept[-_MAX_IDLE_MEMBERS:])


class _Account(Generic[Job]):
    """The jobs of one account by session, each with its arrival number."""

    def __init__(self) -> None:
        self.shares = _FairShares()
        self.jobs: dict[Hashable, deque[tuple[int, Job]]] = {}

    def next_arrival(self) -> int | None:
        """The arrival number of the account's next job; None if none waits."""
        return self.jobs[self.shares.in_order()[0]][0][0] if self.jobs else None

    def put(self, session: Hashable, arrival: int, job: Job) -> None:
        if session not in self.jobs:
            self.jobs[session] = deque()
            self.shares.arrive(session, arrival)
        self.jobs[session].append((arrival, job))

    def take(self, session: Hashable) -> Job:
        queue = self.jobs[session]
        _, job = queue.popleft()
        self.shares.serve(session, queue[0][0] if queue else None)
        if not queue:
            del self.jobs[session]
        return job

    def remove(self, session: Hashable, unwanted: Callable[[Job], bool]) -> int:
        queue = self.jobs.get(session, deque())
        kept = deque(entry for entry in queue if not unwanted(entry[1]))
        removed = len(queue) - len(kept)
        if kept:
            self.jobs[session] = kept
        elif removed:
            del self.jobs[session]
            self.shares.withdraw(session)
        return removed


class FairQueue(Generic[Job]):
    """Jobs of several accounts and their sessions; those of one session leave in the order in which they came.

    Accounts share equally as long as they have jobs waiting, and so do the sessions within each account. An account
    or session that was idle has no credit for that time. With one session per account this is start-time fair
    queueing among the sessions.
    """

    def __init__(self) -> None:
        self._shares = _FairShares()
        self._accounts: dict[Hashable, _Account[Job]] = {}
        self._arrivals = itertools.count(1)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def sessions(self) -> set[tuple[Hashable, Hashable]]:
        """Account and session of the jobs in the queue."""
        return {(key, session) for key, account in self._accounts.items() for session in account.jobs}

    @property
    def remembered(self) -> int:
        """Number of accounts and sessions of which the queue has any state."""
        return len(self._shares) + sum(len(account.shares) for account in self._accounts.values())

    def put(self, account: Hashable, session: Hashable, job: Job) -> None:
        """Appends a job to its session's queue."""
        arrival = next(self._arrivals)
        owner = self._accounts.setdefault(account, _Account())
        idle = not owner.jobs
        owner.put(session, arrival, job)
        if idle:
            self._shares.arrive(account, arrival)
        self._length += 1

    def take(self, may_leave: Callable[[Hashable, Hashable], bool] = lambda account, session: True) -> Job | None:
        """Removes and returns the next job whose account and session `may_leave`; None if there is none."""
        for account in self._shares.in_order():
            owner = self._accounts[account]
            for session in owner.shares.in_order():
                if may_leave(account, session):
                    job = owner.take(session)
                    self._shares.serve(account, owner.next_arrival())
                    self._length -= 1
                    self._forget()
                    return job
        return None

    def remove(self, account: Hashable, session: Hashable, unwanted: Callable[[Job], bool]) -> None:
        """Removes the `unwanted` jobs of a session; its next one takes the place of the first if none is left."""
        owner = self._accounts.get(account)
        if owner is None or not (removed := owner.remove(session, unwanted)):
            return
        self._length -= removed
        if not owner.jobs:
            self._shares.withdraw(account)
        self._forget()

    def _forget(self) -> None:
        self._shares.forget()
        self._accounts = {key: account for key, account in self._accounts.items() if key in self._shares}
        for account in self._accounts.values():
            account.shares.forget()


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
