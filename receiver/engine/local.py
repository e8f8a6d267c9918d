"""The reconstruction engine in this process: fair and batched, with the surfaces of stills beside the networks.

    requests ─ people ─ fair queue ─ batch ─ networks (one thread) ─┬─ results
                                                  surfaces of stills (a thread a core)

A frame is split into its people, so that a frame of many does not delay the frames of others by more than a few people.
While the surfaces of stills are solved, the networks run on the next batch.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from common.clock import SYSTEM_CLOCK, Clock
from common.weights.threads import available_cores
from receiver.engine.batching import BatchingEngine, FairExecutor, PendingPerson, Room
from receiver.engine.observer import EngineObserver
from receiver.engine.reconstructor import InferredFrame, Reconstructor, infer_each
from receiver.mesh.skinned_glb import Skeleton


class LocalEngine(BatchingEngine):
    """A `ReconstructionEngine` in this process: one thread runs the networks, several solve surfaces."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        batch_people: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
        observer: EngineObserver | None = None,
    ) -> None:
        super().__init__(batch_people or reconstructor.batch_people, clock, observer)
        self._observer.replicas_running(1)
        self._reconstructor = reconstructor
        self._networks = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._surfaces = FairExecutor(min(4, available_cores()), "surface")
        self._extractions: set[asyncio.Task[None]] = set()
        self._in_use = asyncio.Lock()

    @property
    def skeleton(self) -> Skeleton:
        """See `ReconstructionEngine.skeleton`."""
        return self._reconstructor.skeleton

    async def prepare(self) -> None:
        """Prepares the reconstructor; requests wait meanwhile. Raises WeightsError as `Reconstructor.prepare`."""
        async with self._in_use:
            await asyncio.get_running_loop().run_in_executor(self._networks, self._reconstructor.prepare)

    async def close(self) -> None:
        """See `ReconstructionEngine.close`."""
        await super().close()
        await asyncio.gather(*self._extractions)
        self._networks.shutdown()
        self._surfaces.shutdown()

    def _room(self) -> Room:
        """A batch, unless enough people wait for surfaces."""
        most = self._batch_people
        # One batch in the networks, and almost one in the surfaces.
        return Room(most if len(self._begun) < most else 0, alone=2 * most)

    async def _begin(self, batch: list[PendingPerson]) -> None:
        for part, inferred in zip(batch, await self._infer(batch), strict=True):
            if isinstance(inferred, Exception):
                part.frame.fail(inferred)
            if isinstance(inferred, Exception) or part.frame.result.done():
                self._finish(part)
            elif inferred.still is None:
                part.frame.complete(part.number, self._reconstructor.extract(inferred), self._clock.monotonic())
                self._finish(part)
            else:
                task = asyncio.create_task(self._extract(part, inferred))
                self._extractions.add(task)
                task.add_done_callback(self._extractions.discard)

    async def _infer(self, batch: list[PendingPerson]) -> list[InferredFrame | Exception]:
        requests = [part.request for part in batch]
        loop = asyncio.get_running_loop()
        async with self._in_use:
            began_s = self._clock.monotonic()
            stages_ms, inferred = await loop.run_in_executor(self._networks, infer_each, self._reconstructor, requests)
        if stages_ms:
            self._add_pass(len(batch), (self._clock.monotonic() - began_s) * 1e3)
        for frame in {part.frame for part in batch}:
            frame.add_times(stages_ms)
        return inferred

    async def _extract(self, part: PendingPerson, inferred: InferredFrame) -> None:
        try:
            result = await self._surfaces.run(*part.frame.session, self._reconstructor.extract, inferred)
        except Exception as error:  # any error belongs to the caller
            part.frame.fail(error)
        else:
            part.frame.complete(part.number, result, self._clock.monotonic())
        finally:
            self._finish(part)
