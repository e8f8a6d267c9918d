"""What the engines have in common: requests become people, and people of all sessions become fair batches.

requests ─ people ─ priorities, fair queues ─ batches ─ (networks, surfaces) ─ people ─ results
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from common.clock import Clock
from receiver.engine.engine import (
    ReconstructedPerson,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.engine.fair_queue import PriorityQueue
from receiver.engine.observer import EngineObserver

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
        """See `ReconstructionEngine.withdraw`."""
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
        """Records how long a network pass took."""
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
