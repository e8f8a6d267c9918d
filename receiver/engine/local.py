"""The reconstruction engine in this process: fair, batched, networks and surfaces overlapped.

    requests ─ people ─ fair queue ─ batch ─ networks (one thread) ─ surfaces (a thread a core) ─ results

A frame is split into its people, so that a frame of many does not delay the frames of others by more than a few people.
While the surfaces of one batch are built, the networks run on the next.
"""

import asyncio
import os
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.clock import SYSTEM_CLOCK, Clock
from common.io.configuration import option
from receiver.engine.engine import (
    ReconstructedPerson,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.engine.fair_executor import FairExecutor
from receiver.engine.fair_queue import FairQueue
from receiver.engine.reconstructor import InferredFrame, Reconstructor
from receiver.mesh.skinned_glb import Skeleton

# A session that asked or was answered within this time is expected to ask again soon.
_ACTIVE_S = 0.5
# While others are active, the people of one account that are reconstructed take about this long in the networks.
_SLICE_MS = 40.0
_TIME_SMOOTHING = 0.8


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """How requests of concurrent sessions are batched."""

    batch_people: int = option(8, help="most people that one network pass reconstructs")
    batch_wait_ms: float = option(3.0, help="longest time that a frame waits for frames of other sessions, ms")

    def __post_init__(self) -> None:
        if self.batch_people < 1:
            raise ValueError(f"batch-people must be at least 1, got {self.batch_people}")
        if not 0 <= self.batch_wait_ms <= 1000:
            raise ValueError(f"batch-wait-ms must lie in 0…1000, got {self.batch_wait_ms:g}")


class _Frame:
    """A request in the engine, and what is known of its result."""

    def __init__(self, request: ReconstructionRequest, submitted_s: float) -> None:
        self.request = request
        self.submitted_s = submitted_s
        self.result: asyncio.Future[ReconstructionResult] = asyncio.get_running_loop().create_future()
        self.begun = False
        self._people: dict[int, ReconstructedPerson] = {}
        self._stages_ms: dict[str, float] = {}

    @property
    def session(self) -> tuple[Hashable, Hashable]:
        """Account and session."""
        return self.request.account, self.request.session

    def parts(self) -> Iterator["_Part"]:
        """One for each person."""
        for number in range(len(self.request.frame.people)):
            yield _Part(self, number, self.request.part(number))

    def fail(self, error: Exception) -> None:
        """Ends the request with an error, unless it is over."""
        if not self.result.done():
            self.result.set_exception(error)

    def passed(self, stages_ms: dict[str, float]) -> None:
        """Adds the times of a network pass, or of a person's surface."""
        for stage, spent_ms in stages_ms.items():
            self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + spent_ms

    def complete(self, number: int, part: ReconstructionResult, now_s: float) -> None:
        """Adds a person; with the last one, the result is set."""
        (self._people[number],) = part.people
        networks_ms = sum(spent_ms for stage, spent_ms in self._stages_ms.items() if stage != "surface")
        self.passed(dict(part.stages_ms))
        if len(self._people) == len(self.request.frame.people) and not self.result.done():
            last_ms = networks_ms + sum(part.stages_ms.values())
            queue_ms = max((now_s - self.submitted_s) * 1e3 - last_ms, 0.0)
            people = tuple(person for _, person in sorted(self._people.items()))
            self.result.set_result(ReconstructionResult(people, {"queue": queue_ms, **self._stages_ms}))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One person of a frame: the unit of work."""

    frame: _Frame
    number: int
    request: ReconstructionRequest


class LocalEngine:
    """A `ReconstructionEngine` in this process; belongs to the event loop that first calls it.

    Args:
        reconstructor: the networks; used by one thread at a time, its surface stage by several.
        config: batch limits.
        surface_workers: threads that build surfaces; by default as many as there are cores, four at most.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        config: BatchingConfig | None = None,
        surface_workers: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock = clock
        self._reconstructor = reconstructor
        self._config = config or BatchingConfig()
        self._queue: FairQueue[_Part] = FairQueue()
        self._frames: set[_Frame] = set()
        self._last_active_s: dict[tuple[Hashable, Hashable], float] = {}
        self._person_ms = _SLICE_MS
        # Set when a request arrives, when a person is finished, and when the engine closes.
        self._changed = asyncio.Event()
        self._begun: list[tuple[Hashable, Hashable]] = []
        self._networks = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._surfaces = FairExecutor(surface_workers or min(4, os.cpu_count() or 1), "surface")
        self._dispatcher: asyncio.Task[None] | None = None
        self._extractions: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def skeleton(self) -> Skeleton:
        """See `ReconstructionEngine.skeleton`."""
        return self._reconstructor.skeleton

    @property
    def queued_people(self) -> int:
        """How many people wait for a network pass."""
        return len(self._queue)

    async def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        """See `ReconstructionEngine.reconstruct`.

        Raises:
            RequestWithdrawn: `withdraw` was called in time.
            ValueError: a label group of the frame is unknown or too long.
            RuntimeError: the engine is closed.
        """
        if self._closed:
            raise RuntimeError("the reconstruction engine is closed")
        if not request.frame.people:
            return ReconstructionResult((), {})
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch(), name="reconstruction dispatcher")
        frame = _Frame(request, self._clock.monotonic())
        for part in frame.parts():
            self._queue.put(*frame.session, part)
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
            if frame.request is request and not frame.begun:
                frame.fail(RequestWithdrawn("the request was withdrawn"))

    async def close(self) -> None:
        """See `ReconstructionEngine.close`."""
        self._closed = True
        self._changed.set()
        if self._dispatcher is not None:
            await self._dispatcher
        await asyncio.gather(*self._extractions)
        self._networks.shutdown()
        self._surfaces.shutdown()

    async def _dispatch(self) -> None:
        while batch := await self._next_batch():
            for part, inferred in zip(batch, await self._infer(batch), strict=True):
                if isinstance(inferred, Exception):
                    part.frame.fail(inferred)
                if isinstance(inferred, Exception) or part.frame.result.done():
                    self._begun.remove(part.frame.session)
                else:
                    task = asyncio.create_task(self._extract(part, inferred))
                    self._extractions.add(task)
                    task.add_done_callback(self._extractions.discard)

    async def _next_batch(self) -> list[_Part]:
        """The people of the next network pass; none when the engine is closed and its queue is empty."""
        while self._queue or not self._closed:
            await self._wait_for_others()
            self._changed.clear()
            if batch := self._take_batch():
                return batch
            await self._changed.wait()
        return []

    def _take_batch(self) -> list[_Part]:
        """Takes a batch in fair order; none while nobody waits, or enough people wait for surfaces."""
        most = self._config.batch_people
        if len(self._begun) >= most:
            return []
        per_account, per_session = self._limits()
        taken = self._queue.take(most, per_account=per_account, per_session=per_session, begun=self._begun)
        batch = [part for part in taken if not part.frame.result.done()]
        for part in batch:
            part.frame.begun = True
            self._begun.append(part.frame.session)
        return batch

    async def _wait_for_others(self) -> None:
        """Waits a few milliseconds at most while another active session may still join the batch."""
        deadline_s = self._clock.monotonic() + self._config.batch_wait_ms / 1e3
        while not self._closed and self._queue and self._active() - self._queue.sessions:
            left_s = deadline_s - self._clock.monotonic()
            if left_s <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _active(self) -> set[tuple[Hashable, Hashable]]:
        """Account and session of those that asked or were answered recently, or wait."""
        horizon_s = self._clock.monotonic() - _ACTIVE_S
        self._last_active_s = {key: at_s for key, at_s in self._last_active_s.items() if at_s > horizon_s}
        return self._last_active_s.keys() | self._queue.sessions

    def _limits(self) -> tuple[int, int]:
        """Most people of one account and of one session from network pass to surface.

        A pass cannot be interrupted, and an active session that has nothing in the queue now will have a frame there
        soon: so that others do not get more than their shares until then, they do not fill passes.
        """
        active, batch = self._active(), self._config.batch_people
        fair = min(max(int(_SLICE_MS / self._person_ms), 1), batch)
        # One batch in the networks, and almost one in the surfaces.
        alone = 2 * batch
        several_accounts = len({account for account, _ in active}) > 1
        return fair if several_accounts else alone, fair if len(active) > 1 else alone

    async def _infer(self, batch: list[_Part]) -> list[InferredFrame | Exception]:
        """The network pass; if it fails, each person alone, so that one bad frame does not fail the others."""
        loop = asyncio.get_running_loop()
        began_s = self._clock.monotonic()
        try:
            inferred = await loop.run_in_executor(
                self._networks, self._reconstructor.infer, [part.request for part in batch]
            )
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [each for part in batch for each in await self._infer([part])]
        spent_ms = (self._clock.monotonic() - began_s) * 1e3 / len(batch)
        self._person_ms = _TIME_SMOOTHING * self._person_ms + (1 - _TIME_SMOOTHING) * spent_ms
        for frame in {part.frame for part in batch}:
            frame.passed(dict(inferred[0].stages_ms))
        return [InferredFrame(each.people, {}) for each in inferred]

    async def _extract(self, part: _Part, inferred: InferredFrame) -> None:
        try:
            result = await self._surfaces.run(*part.frame.session, self._reconstructor.extract, inferred)
        except Exception as error:  # any error belongs to the caller
            part.frame.fail(error)
        else:
            part.frame.complete(part.number, result, self._clock.monotonic())
        finally:
            self._begun.remove(part.frame.session)
            self._changed.set()
