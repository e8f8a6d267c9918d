"""The engine on a pool of replicas, and the seam to the pool that it uses.

The reconstruction engine in front of a pool of replicas, which may be on other machines.

    requests ─ people ─ fair queue ─ batches ─ replicas (networks ─ surfaces) ─ results

The queue stays here, where it is fair: a replica gets a batch only when it can begin it soon. Each request carries all
that its result depends on, so any replica can take it, and take it again after another one was lost.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from common.arrays import Int32Array
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import BodywireError
from common.io.tasks import cancel
from common.text import counted
from receiver.engine.batching import BATCH_PEOPLE, BatchingEngine, PendingPerson, Room
from receiver.engine.engine import ReconstructionRequest, ReconstructionResult
from receiver.engine.observer import EngineObserver
from receiver.mesh.skinned_glb import Skeleton


class ReplicaLost(BodywireError):
    """The replica that was to reconstruct a batch has ended; another one may try."""


class PoolFull(BodywireError):
    """As many batches as may wait for a replica wait already."""


class Reference(Protocol):
    """Refers to an object that replicas can fetch, by awaiting the reference."""

    def hex(self) -> str:
        """Identifies the object."""

    def __await__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class PersonWork:
    """All that the result for one person depends on.

    Args:
        request: has this person alone, without a texture.
        texture: of the person's `ReceivedTexture`, if any.
    """

    request: ReconstructionRequest
    texture: Reference | None = None


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What a replica made of a batch.

    Args:
        outcomes: for each person its result, or the error that it failed with.
        stages_ms: time of the network pass by stage; times of surfaces are in the results.
        busy_s: how long the replica has had work since its last answer to anybody.
    """

    outcomes: tuple[ReconstructionResult | Exception, ...]
    stages_ms: dict[str, float]
    busy_s: float


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What replicas have in common.

    Args:
        build: versions, weights and options.
        faces: (F, 3) triangles of all bodies.
    """

    build: str
    skeleton: Skeleton
    faces: Int32Array


class Pool(Protocol):
    """Replicas that reconstruct batches."""

    @property
    def facts(self) -> PoolFacts:
        """Of its replicas."""

    @property
    def most_replicas(self) -> int:
        """How many replicas the pool may grow to."""

    def share(self, value: object) -> Reference:
        """Makes an object available to replicas until the reference is dropped."""

    def reconstruct(self, batch: Sequence[PersonWork]) -> Awaitable[BatchDone]:
        """Waits for a replica for a batch. Raises ReplicaLost if it has ended, PoolFull if too many wait."""

    async def replicas(self) -> int:
        """How many replicas take batches now."""


logger = logging.getLogger(__name__)

BATCHES_PER_REPLICA = 2
"""While the surfaces of one batch are built, the networks run on the next."""

# A replica answers a batch as a whole, so a batch is to take about this long: its first person waits for its last.
_BATCH_S = 0.15
# A batch goes to this many replicas before its people fail; in the last attempt each is alone.
_ATTEMPTS = 3
_RETRY_WAIT_S = 0.1
_WATCH_INTERVAL_S = 1.0
# People whose textures replicas can fetch.
_SHARED_TEXTURES = 256
_RATE_SMOOTHING = 0.9
# Of a replica before its first batch: of one core, with others at work beside it. Unknown must not mean unlimited: the
# senders of a receiver that was restarted come back all at once.
_ASSUMED_PEOPLE_PER_SECOND = 10.0


class _SharedTextures:
    """References to the newest textures of people, of all sessions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._newest: OrderedDict[Hashable, tuple[object, Reference]] = OrderedDict()

    def reference(self, owner: Hashable, value: object | None) -> Reference | None:
        """The reference to a texture, which replaces what its owner had before."""
        if value is None:
            return None
        known, reference = self._newest.pop(owner, (None, None))
        if known is not value or reference is None:
            reference = self._pool.share(value)
        self._newest[owner] = value, reference
        while len(self._newest) > _SHARED_TEXTURES:
            self._newest.popitem(last=False)
        return reference


class PoolEngine(BatchingEngine):
    """A `ReconstructionEngine` in front of a pool.

    While the pool has no replica, requests wait, and those that are withdrawn end at once, also if they had begun.
    """

    def __init__(
        self,
        pool: Pool,
        batch_people: int = BATCH_PEOPLE,
        clock: Clock = SYSTEM_CLOCK,
        observer: EngineObserver | None = None,
    ) -> None:
        super().__init__(batch_people, clock, observer)
        self._pool = pool
        self._shared = _SharedTextures(pool)
        # Sums over some twenty batches, of which the newest count most.
        self._served_people = self._busy_s = 0.0
        self._replicas = 0
        self._lost = False
        self._watch: asyncio.Task[None] | None = None
        self._running: dict[asyncio.Task[None], list[PendingPerson]] = {}

    @property
    def skeleton(self) -> Skeleton:
        return self._pool.facts.skeleton

    def capacity(self) -> float:
        """How many people per second the replicas that run can do; 10 each are assumed before the first batch."""
        if self._lost:
            return 0.0
        rate = self._people_per_second()
        # Before the pool was asked for the first time there is at least the replica that the receiver has waited for.
        return max(self._replicas, 1) * (_ASSUMED_PEOPLE_PER_SECOND if rate is None else rate)

    def _people_per_second(self) -> float | None:
        """What one replica does while it has work; None before the first batch."""
        return self._served_people / self._busy_s if self._busy_s > 0 else None

    async def start(self) -> None:
        """Begins to watch the pool."""
        self._watch = asyncio.create_task(self._watch_replicas(), name="reconstruction pool watch")

    async def close(self) -> None:
        """See `ReconstructionEngine.close`; what waits for a lost pool fails."""
        self._closed = True
        if self._lost:
            self._fail_all()
        await super().close()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._watch is not None:
            await cancel([self._watch])

    async def _begin(self, batch: list[PendingPerson]) -> None:
        task = asyncio.create_task(self._run(batch))
        self._running[task] = batch
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        for part in self._running.pop(task):
            self._finish(part)

    def _room(self) -> Room:
        """A batch while a replica can begin it soon; people who wait are spread over the replicas that are idle.

        A pool that may grow gets one replica's batches more than it can begin: by these Serve sees that it should.
        """
        growing = self._replicas < self._pool.most_replicas
        batches = (self._replicas + growing) * BATCHES_PER_REPLICA if self._replicas else 0
        if len(self._running) >= batches:
            return Room(0, alone=0)
        idle = max(self._replicas - len(self._running), 1)
        rate = self._people_per_second()
        in_time = self._batch_people if rate is None else max(round(_BATCH_S * rate), 1)
        people = min(-(-self.queued_people // idle), in_time, self._batch_people)
        return Room(people, alone=batches * self._batch_people, passes=self._replicas)

    async def _run(self, batch: list[PendingPerson]) -> None:
        try:
            await self._attempt(batch, 1)
        except Exception as error:  # any error belongs to the callers
            for part in batch:
                part.frame.fail(error)

    async def _attempt(self, batch: Sequence[PendingPerson], number: int) -> None:
        batch = [part for part in batch if not part.frame.result.done()]
        if not batch:
            return
        try:
            done = await self._ask([self._work(part) for part in batch])
        except ReplicaLost as lost:
            if number == _ATTEMPTS:
                logger.error("%d replicas in a row were lost with the same people in hand: %s", number, lost)
                for part in batch:
                    part.frame.fail(lost)
                return
            self._observer.batch_retried()
            people = counted(len(batch), "person goes", "people go")
            logger.warning("a replica was lost: its %s to another one (%s)", people, lost)
            await asyncio.sleep(_RETRY_WAIT_S)
            # In the last attempt each is alone: one with whom replicas end fails no other.
            for again in [batch] if number + 1 < _ATTEMPTS else [[part] for part in batch]:
                await self._attempt(again, number + 1)
        else:
            self._answer(batch, done)

    async def _ask(self, batch: Sequence[PersonWork]) -> BatchDone:
        while True:
            with contextlib.suppress(PoolFull):
                return await self._pool.reconstruct(batch)
            await asyncio.sleep(_RETRY_WAIT_S)

    def _work(self, part: PendingPerson) -> PersonWork:
        request = part.request
        (person,) = request.frame.people
        appearance = request.appearance_of(person)
        texture = self._shared.reference((*part.frame.session, person.identity), appearance.texture)
        bare = {person.identity: replace(appearance, texture=None)}
        return PersonWork(replace(request, appearance=bare), texture)

    def _answer(self, batch: Sequence[PendingPerson], done: BatchDone) -> None:
        self._served_people = _RATE_SMOOTHING * self._served_people + len(batch)
        self._busy_s = _RATE_SMOOTHING * self._busy_s + done.busy_s
        if done.stages_ms:
            self._add_pass(len(batch), sum(done.stages_ms.values()))
        for frame in {part.frame for part in batch}:
            frame.add_times(done.stages_ms)
        for part, outcome in zip(batch, done.outcomes, strict=True):
            if isinstance(outcome, Exception):
                part.frame.fail(outcome)
            else:
                part.frame.complete(part.number, self._with_known_faces(outcome), self._clock.monotonic())

    def _with_known_faces(self, result: ReconstructionResult) -> ReconstructionResult:
        """The answer with one array of triangles for all bodies, by which files of them are made faster."""
        faces = self._pool.facts.faces
        bodies = [replace(each.body, mesh=replace(each.body.mesh, faces=faces)) for each in result.people]
        people = (replace(each, body=body) for each, body in zip(result.people, bodies, strict=True))
        return replace(result, people=tuple(people))

    async def _watch_replicas(self) -> None:
        while True:
            self._set_replicas(await self._pool.replicas())
            await asyncio.sleep(_WATCH_INTERVAL_S)

    def _set_replicas(self, count: int) -> None:
        before, self._replicas = self._replicas, count
        if count == before:
            return
        self._observer.replicas_running(count)
        if count == 0:
            self._lost = True
            logger.error(
                "the reconstruction pool has no replica: frames of complete sessions wait, late live ones are dropped"
            )
        elif self._lost:
            self._lost = False
            logger.warning("the reconstruction pool has %d replicas again", count)
        for batch in self._running.values():
            for part in batch:
                part.frame.begun = not self._lost
        self._end_withdrawn()
        if self._lost and self._closed:
            self._fail_all()
        self._changed.set()

    def _fail_all(self) -> None:
        for frame in self._frames:
            frame.fail(ReplicaLost("the reconstruction pool has no replica"))
        for task in self._running:
            task.cancel()
