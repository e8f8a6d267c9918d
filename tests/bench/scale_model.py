"""A pool of simulated replicas under the receiver's own queue and batches, in virtual time.

The queue, its fairness, the batches and their limits are `PoolEngine` itself, on an event loop whose time jumps to the
next event. Simulated are the replicas: a batch needs a time drawn from measured ones of its size; a replica ends its
batches in the order in which they came, by a measured factor faster while two are in hand, because the networks run on
the second one meanwhile; and where the replicas of a machine want more cores than it has, all become slower by the same
factor (processor sharing).
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar, cast

import numpy as np

from common.clock import Clock
from receiver.engine.engine import ReconstructedPerson, ReconstructionResult
from receiver.engine.pool.engine import BATCHES_PER_REPLICA
from receiver.engine.pool.pool import BatchDone, PersonWork, PoolFull, Reference
from receiver.engine.pool.replica import BusyTime
from receiver.engine.topology import BodyTopology
from receiver.mesh.skinned_glb import Skeleton
from tests.bench.scale_calibration import BatchFigures, Calibration

T = TypeVar("T")
_NOBODY = cast(ReconstructedPerson, object())
_NO_TOPOLOGY = cast(BodyTopology, SimpleNamespace(restored_to=lambda answer: answer))
_NO_STAGES: Mapping[str, float] = MappingProxyType({})
_NEVER_S = 1e-9


class _NoInput(selectors.SelectSelector):
    """Instead of waiting for input, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never happens")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of the next event; nothing in it waits."""

    def __init__(self) -> None:
        self._virtual = _NoInput()
        super().__init__(self._virtual)
        self._clock_resolution = _NEVER_S

    def time(self) -> float:
        """Seconds since the start of the simulation."""
        return self._virtual.now_s

    @property
    def clock(self) -> Clock:
        """The same time for an engine."""
        return Clock(monotonic=self.time, wall=self.time)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass(eq=False)
class _Job:
    left_s: float
    done: "asyncio.Future[None]"


@dataclass(eq=False)
class Process:
    """A process of a machine, which does its jobs in the order in which they came.

    Args:
        cores: that it uses with one job in hand.
        speedup: how many times as fast it is with several jobs in hand, and how many times the cores it uses then.
    """

    cores: float = 1.0
    speedup: float = 1.0
    jobs: list[_Job] = field(default_factory=list)

    @property
    def pace(self) -> float:
        """Work per second on its first job, with enough cores."""
        return 0.0 if not self.jobs else 1.0 if len(self.jobs) == 1 else self.speedup


class Machine:
    """Cores that its processes share equally.

    Args:
        cores: how many.
    """

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._processes: list[Process] = []
        self._at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, process: Process) -> Process:
        """A process of this machine."""
        self._processes.append(process)
        return process

    async def work(self, process: Process, seconds: float) -> None:
        """A job that takes so long alone."""
        self._advance()
        job = _Job(seconds, asyncio.get_running_loop().create_future())
        process.jobs.append(job)
        self._schedule()
        await job.done

    def _slowness(self) -> float:
        wanted = sum(process.cores * process.pace for process in self._processes)
        return max(wanted / self._cores, 1.0)

    def _advance(self) -> None:
        """Counts the work since the last change."""
        now_s = asyncio.get_running_loop().time()
        passed_s, self._at_s = (now_s - self._at_s) / self._slowness(), now_s
        for process in self._processes:
            for job in process.jobs[:1]:
                job.left_s -= passed_s * process.pace

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        slowness = self._slowness()
        ends = [job.left_s * slowness / process.pace for process in self._processes for job in process.jobs[:1]]
        self._timer = asyncio.get_running_loop().call_later(max(min(ends), 0.0), self._finish) if ends else None

    def _finish(self) -> None:
        self._advance()
        for process in self._processes:
            ended = [job for job in process.jobs if job.left_s <= _NEVER_S]
            process.jobs = [job for job in process.jobs if job.left_s > _NEVER_S]
            for job in ended:
                job.done.set_result(None)
        self._schedule()


class _Replica:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.process = machine.start(Process())
        self.busy = BusyTime(asyncio.get_running_loop().time)
        self.in_hand = 0


class SimulatedPool:
    """A `Pool` of simulated replicas; make it in a virtual loop.

    Args:
        calibration: of the real ones.
        machines: cores of each machine, and the number of its replicas.
        rng: draws the times of batches.
    """

    def __init__(
        self, calibration: Calibration, machines: Sequence[tuple[float, int]], rng: np.random.Generator
    ) -> None:
        self._batches = calibration.batches
        self._rng = rng
        self._replicas: list[_Replica] = []
        for cores, count in machines:
            machine = Machine(cores)
            self._replicas += [_Replica(machine) for _ in range(count)]
        self.most_replicas = len(self._replicas)

    @property
    def skeleton(self) -> Skeleton:
        """None is needed."""
        raise NotImplementedError

    @property
    def topology(self) -> BodyTopology:
        """Of nobody."""
        return _NO_TOPOLOGY

    def share(self, value: object) -> Reference:
        """Nothing is shared: the clips have neither colours nor textures."""
        raise NotImplementedError

    async def replicas(self) -> int:
        """See `Pool.replicas`: none is ever lost."""
        return len(self._replicas)

    async def reconstruct(self, batch: Sequence[PersonWork]) -> BatchDone:
        """See `Pool.reconstruct`: the replica with the fewest batches in hand takes it."""
        replica = min(self._replicas, key=lambda each: each.in_hand)
        if replica.in_hand >= BATCHES_PER_REPLICA:
            raise PoolFull("every replica has as many batches as it takes")
        figures, scale = self._figures(len(batch))
        replica.process.cores, replica.process.speedup = figures.cores, figures.speedup
        replica.in_hand += 1
        try:
            with replica.busy.batch():
                drawn_s = figures.alone_s[int(self._rng.integers(len(figures.alone_s)))]
                await replica.machine.work(replica.process, drawn_s * scale)
            outcome = ReconstructionResult((_NOBODY,), _NO_STAGES)
            stages_ms = {"networks": figures.networks_s * scale * 1e3}
            return BatchDone((outcome,) * len(batch), stages_ms, replica.busy.take_s())
        finally:
            replica.in_hand -= 1

    def _figures(self, people: int) -> tuple[BatchFigures, float]:
        """The measured batches of the nearest size, and the factor from their times to those of this size."""
        nearest = min(self._batches, key=lambda size: abs(size - people))
        return self._batches[nearest], people / nearest
