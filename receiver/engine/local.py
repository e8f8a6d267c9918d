"""The reconstruction engine in this process: fair, batched, networks and surfaces overlapped.

    requests ─ fair queue ─ batch ─ networks (one thread) ─ surfaces (a thread a core) ─ results

While the surfaces of one batch are built, the networks run on the next. A single session has one frame in the engine
at a time, so it neither waits for a batch nor gains from the overlap.
"""

import asyncio
import os
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.clock import SYSTEM_CLOCK, Clock
from common.io.configuration import option
from receiver.engine.engine import ReconstructionRequest, ReconstructionResult
from receiver.engine.fair_queue import FairQueue
from receiver.engine.reconstructor import InferredFrame, Reconstructor
from receiver.mesh.skinned_glb import Skeleton

# A session that asked within this time is expected to ask again soon.
_ACTIVE_S = 0.5


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


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    request: ReconstructionRequest
    result: "asyncio.Future[ReconstructionResult]"
    submitted_s: float


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
        self._queue: FairQueue[_Job] = FairQueue()
        self._last_asked_s: dict[Hashable, float] = {}
        self._submitted = asyncio.Event()
        self._extracted = asyncio.Event()
        self._people_in_extraction = 0
        self._networks = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._surfaces = ThreadPoolExecutor(
            surface_workers or min(4, os.cpu_count() or 1), thread_name_prefix="surface"
        )
        self._dispatcher: asyncio.Task[None] | None = None
        self._extractions: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def skeleton(self) -> Skeleton:
        """See `ReconstructionEngine.skeleton`."""
        return self._reconstructor.skeleton

    async def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        """See `ReconstructionEngine.reconstruct`.

        Raises:
            ValueError: a label group of the frame is unknown or too long.
            RuntimeError: the engine is closed.
        """
        if self._closed:
            raise RuntimeError("the reconstruction engine is closed")
        if not request.frame.people:
            return ReconstructionResult((), {})
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch(), name="reconstruction dispatcher")
        job = _Job(request, asyncio.get_running_loop().create_future(), self._clock.monotonic())
        self._queue.put(request.session, job, request.cost)
        self._last_asked_s[request.session] = job.submitted_s
        self._submitted.set()
        return await job.result

    async def close(self) -> None:
        """See `ReconstructionEngine.close`."""
        self._closed = True
        self._submitted.set()
        if self._dispatcher is not None:
            await self._dispatcher
        await asyncio.gather(*self._extractions)
        self._networks.shutdown()
        self._surfaces.shutdown()

    async def _dispatch(self) -> None:
        while batch := await self._next_batch():
            for job, frame in zip(batch, await self._infer(batch), strict=True):
                if isinstance(frame, Exception):
                    _fail(job, frame)
                    continue
                self._people_in_extraction += job.request.cost
                task = asyncio.create_task(self._extract(job, frame))
                self._extractions.add(task)
                task.add_done_callback(self._extractions.discard)

    async def _next_batch(self) -> list[_Job]:
        """The jobs of the next network pass; none when the engine is closed and its queue is empty."""
        while True:
            while not self._queue and not self._closed:
                self._submitted.clear()
                await self._submitted.wait()
            await self._wait_for_others()
            await self._wait_for_surfaces()
            batch = [job for job in self._queue.take(self._config.batch_people) if not job.result.cancelled()]
            if batch or (self._closed and not self._queue):
                return batch

    async def _wait_for_others(self) -> None:
        """Waits a few milliseconds at most while another active session may still join the batch."""
        deadline_s = self._clock.monotonic() + self._config.batch_wait_ms / 1e3
        while not self._closed and self._others_expected():
            left_s = deadline_s - self._clock.monotonic()
            if left_s <= 0:
                return
            self._submitted.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._submitted.wait()
            except TimeoutError:
                return

    def _others_expected(self) -> bool:
        """Whether a session that asked recently has no request in the queue."""
        horizon_s = self._clock.monotonic() - _ACTIVE_S
        self._last_asked_s = {session: at_s for session, at_s in self._last_asked_s.items() if at_s > horizon_s}
        return bool(self._last_asked_s.keys() - self._queue.sessions)

    async def _wait_for_surfaces(self) -> None:
        """Holds the next network pass back while a full batch waits for surfaces: queued jobs stay in fair order."""
        while self._people_in_extraction >= self._config.batch_people:
            self._extracted.clear()
            await self._extracted.wait()

    async def _infer(self, batch: list[_Job]) -> list[InferredFrame | Exception]:
        """The network pass; if it fails, each frame alone, so that one bad frame does not fail the others."""
        loop = asyncio.get_running_loop()
        began_s = self._clock.monotonic()
        try:
            frames = await loop.run_in_executor(
                self._networks, self._reconstructor.infer, [job.request for job in batch]
            )
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [frame for job in batch for frame in await self._infer([job])]
        return [
            InferredFrame(frame.people, {"queue": (began_s - job.submitted_s) * 1e3, **frame.stages_ms})
            for job, frame in zip(batch, frames, strict=True)
        ]

    async def _extract(self, job: _Job, frame: InferredFrame) -> None:
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._surfaces, self._reconstructor.extract, frame)
        except Exception as error:  # any error belongs to the caller
            _fail(job, error)
        else:
            if not job.result.done():
                job.result.set_result(result)
        finally:
            self._people_in_extraction -= job.request.cost
            self._extracted.set()


def _fail(job: _Job, error: Exception) -> None:
    if not job.result.done():
        job.result.set_exception(error)
