"""Batches of people for an engine that accounts share equally: hierarchical start-time fair queueing.

What counts is the work that they cause, not the number of their sessions or the length of their queues.

Source: Goyal, Guo, Vin, "A Hierarchical CPU Scheduler for Multimedia Operating Systems", OSDI 1996, and Goyal, Vin,
Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Pure: no clocks, no threads.

What the engines have in common: requests become people, and people of all sessions become fair batches.

requests ─ people ─ priorities, fair queues ─ batches ─ (networks, surfaces) ─ people ─ results
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from common.clock import Clock
from receiver.engine.engine import (
    Priority,
    ReconstructedPerson,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.engine.observer import EngineObserver

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
        waiting = [level for level, queue in self._queues.items() if queue]
        for level in sorted(waiting, key=lambda level: (self._passed_over[level] < _LOWER_EVERY - 1, level)):
            if (job := self._queues[level].take(may_leave)) is not None:
                self._left(level)
                return job
        return None

    def remove(self, account: Hashable, session: Hashable, unwanted: Callable[[Job], bool]) -> None:
        """Removes the jobs of a session for which `unwanted` is true; see `FairQueue.remove`."""
        for queue in self._queues.values():
            queue.remove(account, session, unwanted)

    def _left(self, served: Priority) -> None:
        self._passed_over[served] = 0
        for level, queue in self._queues.items():
            if level > served:
                self._passed_over[level] = self._passed_over[level] + 1 if queue else 0


BATCH_PEOPLE = 8
"""Most people in one pass of the networks on a CPU; more take longer without being faster each."""

# A session that asked or was answered within this time is expected to ask again soon.
_ACTIVE_S = 0.5
# While others are active, the people of one account that are reconstructed take about this long in the networks.
_SLICE_MS = 40.0
_TIME_SMOOTHING = 0.8


class PendingFrame:
    """A request in the engine, whether people of it have `begun`, and whether its caller has `withdrawn` it."""

    def __init__(self, request: ReconstructionRequest, submitted_s: float) -> None:
        self.request = request
        self.submitted_s = submitted_s
        self.result: asyncio.Future[ReconstructionResult] = asyncio.get_running_loop().create_future()
        self.begun = False
        self.withdrawn = False
        self._people: dict[int, ReconstructedPerson] = {}
        self._stages_ms: dict[str, float] = {}

    @property
    def session(self) -> tuple[Hashable, Hashable]:
        """Account and session."""
        return self.request.account, self.request.session

    def parts(self) -> Iterator["PendingPerson"]:
        """One for each person."""
        for number in range(len(self.request.frame.people)):
            yield PendingPerson(self, number, self.request.part(number))

    def fail(self, error: Exception) -> None:
        """Ends the request with an error, unless it is over."""
        if not self.result.done():
            self.result.set_exception(error)

    def add_times(self, stages_ms: Mapping[str, float]) -> None:
        """Adds the times of a network pass, or of a person's surface."""
        for stage, spent_ms in stages_ms.items():
            self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + spent_ms

    def complete(self, number: int, part: ReconstructionResult, now_s: float) -> None:
        """Adds a person; with the last one, the result is set."""
        (self._people[number],) = part.people
        networks_ms = sum(spent_ms for stage, spent_ms in self._stages_ms.items() if stage != "surface")
        self.add_times(part.stages_ms)
        if len(self._people) == len(self.request.frame.people) and not self.result.done():
            last_ms = networks_ms + sum(part.stages_ms.values())
            queue_ms = max((now_s - self.submitted_s) * 1e3 - last_ms, 0.0)
            people = tuple(person for _, person in sorted(self._people.items()))
            self.result.set_result(ReconstructionResult(people, {"queue": queue_ms, **self._stages_ms}))


@dataclass(frozen=True, slots=True, eq=False)
class PendingPerson:
    """One person of a frame: the unit of work."""

    frame: PendingFrame
    number: int
    request: ReconstructionRequest


@dataclass(frozen=True, slots=True)
class Room:
    """How many people an engine takes now.

    Args:
        people: most of the next batch; none if it is 0 or less.
        alone: most of one session that are reconstructed at a time, while no other is active.
        passes: how many network passes run at a time; sessions that are active together share them.
    """

    people: int
    alone: int
    passes: int = 1


class BatchingEngine(ABC):
    """The part of a `ReconstructionEngine` before its networks; belongs to the event loop that first calls it."""

    def __init__(self, batch_people: int, clock: Clock, observer: EngineObserver | None) -> None:
        self._batch_people = batch_people
        self._observer = observer or EngineObserver()
        self._clock = clock
        self._queue: PriorityQueue[PendingPerson] = PriorityQueue(
            lambda part: part.frame.session, lambda part: part.request.priority
        )
        # Requests that are not over, and account and session of each person who was taken and is not finished.
        self._frames: set[PendingFrame] = set()
        self._begun: list[tuple[Hashable, Hashable]] = []
        self._taken_s: dict[PendingPerson, float] = {}
        self._last_active_s: dict[tuple[Hashable, Hashable], float] = {}
        self._person_ms = _SLICE_MS
        # Set when a request arrives, when there may be more room, and when the engine closes.
        self._changed = asyncio.Event()
        self._closed = False
        self._dispatcher: asyncio.Task[None] | None = None

    @property
    def queued_people(self) -> int:
        """How many people wait to be taken."""
        return len(self._queue)

    async def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        """See `ReconstructionEngine.reconstruct`.

        Raises:
            ReplicaLost: of an engine in front of a pool: every replica that tried has ended.
            RuntimeError: the engine is closed.
        """
        if self._closed:
            raise RuntimeError("the reconstruction engine is closed")
        if not request.frame.people:
            return ReconstructionResult((), {})
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch(), name="reconstruction dispatcher")
        frame = PendingFrame(request, self._clock.monotonic())
        for part in frame.parts():
            self._queue.put(part)
        self._frames.add(frame)
        self._last_active_s[frame.session] = frame.submitted_s
        self._changed.set()
        try:
            return await frame.result
        finally:
            # Cancelled, withdrawn or failed: what is left of it is not reconstructed.
            self._queue.remove(*frame.session, lambda part: part.frame is frame)
            self._frames.discard(frame)
            self._last_active_s[frame.session] = self._clock.monotonic()
            self._changed.set()

    def withdraw(self, request: ReconstructionRequest) -> None:
        for frame in self._frames:
            if frame.request is request:
                frame.withdrawn = True
        self._end_withdrawn()

    async def close(self) -> None:
        """Takes no further requests, and waits until those that it has are taken."""
        self._closed = True
        self._changed.set()
        if self._dispatcher is not None:
            await self._dispatcher

    @abstractmethod
    def _room(self) -> Room:
        """How many people the engine takes now."""

    @abstractmethod
    async def _begin(self, batch: list[PendingPerson]) -> None:
        """Begins to reconstruct a batch; the next one may begin when this returns."""

    def _end_withdrawn(self) -> None:
        """Ends the withdrawn requests that have not begun, or no longer run."""
        for frame in self._frames:
            if frame.withdrawn and not frame.begun:
                frame.fail(RequestWithdrawn("the request was withdrawn"))

    def _add_pass(self, people: int, spent_ms: float) -> None:
        self._person_ms = _TIME_SMOOTHING * self._person_ms + (1 - _TIME_SMOOTHING) * spent_ms / people

    def _finish(self, part: PendingPerson) -> None:
        """Gives the place of a person free that was taken."""
        self._begun.remove(part.frame.session)
        self._observer.person_finished(self._clock.monotonic() - self._taken_s.pop(part))
        self._changed.set()

    async def _dispatch(self) -> None:
        while self._queue or not self._closed:
            self._changed.clear()
            if batch := self._take(self._room()):
                await self._begin(batch)
            else:
                await self._changed.wait()

    def _take(self, room: Room) -> list[PendingPerson]:
        """Takes a batch in fair order; none while nobody waits, or there is no room."""
        if room.people < 1:
            return []
        per_account, per_session = self._limits(room)
        taken = self._queue.take(room.people, per_account=per_account, per_session=per_session, begun=self._begun)
        batch = [part for part in taken if not part.frame.result.done()]
        now_s = self._clock.monotonic()
        for part in batch:
            part.frame.begun = True
            self._begun.append(part.frame.session)
            self._taken_s[part] = now_s
            self._observer.person_taken(now_s - part.frame.submitted_s)
        if batch:
            self._observer.batch_taken(len(batch))
        return batch

    def _active(self) -> set[tuple[Hashable, Hashable]]:
        """Account and session of those that asked or were answered recently, or are not answered yet."""
        horizon_s = self._clock.monotonic() - _ACTIVE_S
        self._last_active_s = {key: at_s for key, at_s in self._last_active_s.items() if at_s > horizon_s}
        # Where a pass takes long, one asked long ago, and learns of its answer only after the next batch is taken.
        return self._last_active_s.keys() | {frame.session for frame in self._frames}

    def _limits(self, room: Room) -> tuple[int, int]:
        """Most people of one account and of one session from network pass to surface.

        A pass cannot be interrupted, and an active session that has nothing in the queue now will have a frame there
        soon: so that others do not get more than their shares until then, they do not fill passes.
        """
        active = self._active()
        fair = min(max(int(_SLICE_MS / self._person_ms), 1), self._batch_people) * room.passes
        several_accounts = len({account for account, _ in active}) > 1
        return fair if several_accounts else room.alone, fair if len(active) > 1 else room.alone
