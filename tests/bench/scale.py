"""How many sessions an engine carries: `python -m tests.bench.scale`; with pools, which need the extra `ray`.

Sessions of one person each send synthetic label motion to an engine, without link and without output; what changes
rarely in a stream, such as clothes, stays the same. Systems:

    local     the engine in this process, with its threads for surfaces
    pool_1    a pool of one replica with one core, on this machine
    pool_2    a pool of two such replicas

Under load, all sessions, eight by default, always have a frame in the engine: `fps` counts frames of all sessions,
`load_p95_ms` is the 95th percentile of the time from a request to its result. At a third of the load, two sessions send
frames at a third of the local engine's `fps`: `third_p50_ms` and `third_p95_ms` are that time, `added_p95_ms` is how
much more it is than with the local engine. `queue_p50_ms` is the part of `third_p50_ms` that is not spent in a stage:
waiting and transport. `cpu_ms` is the processor time of this process and all of Ray's for a frame, under load; it
hardly depends on what else the machine does.

`--sessions 1 8 64` measures the local engine alone, with so many sessions in turn; `--device cuda`, on a GPU.

A second table has the shares of batches by their number of people, under load.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from common.frames import LabelFrame
from common.labels import FAST_GROUPS
from common.weights.config import DeviceConfig
from common.weights.devices import CPU, resolve_device
from receiver.engine.config import BatchingConfig, EngineConfig
from receiver.engine.engine import EngineObserver, ReconstructionRequest
from receiver.engine.local import LocalEngine
from receiver.engine.pool.cluster import open_pool
from receiver.engine.pool.engine import PoolEngine
from receiver.engine.pool.replica import ReplicaSettings
from receiver.engine.reconstructor import Reconstructor
from receiver.surface.config import SurfaceConfig
from tests.bench import report
from tests.bench.measures import percentile
from tests.support.label_motion import clip

SECONDS, QUICK_SECONDS = 20.0, 6.0
POOLS = {"pool_1": 1, "pool_2": 2}
_SESSIONS, _PACED_SESSIONS, _CLIP_FRAMES = 8, 2, 60
_WARM_UP_S = 2.0

Figures = dict[str, float]


class Batches(EngineObserver):
    """Counts batches by their people."""

    def __init__(self) -> None:
        self.sizes = Counter[int]()

    def batch_taken(self, people: int) -> None:
        self.sizes[people] += 1

    def batch_retried(self) -> None:
        raise RuntimeError("a replica was lost during the measurement")


class Sessions:
    """Sessions that send clips to an engine, and how long each frame took.

    Args:
        clips: one for each session.
        now: the time, seconds; that of the event loop where it is simulated.
    """

    def __init__(
        self,
        engine: LocalEngine | PoolEngine,
        clips: Sequence[Sequence[LabelFrame]],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._clips = clips
        self._now = now
        self.latencies_ms: list[float] = []
        self.queue_ms: list[float] = []

    async def saturate(self, seconds: float) -> float:
        """Every session has one frame in the engine at all times; returns frames per second."""
        self._clear()
        end_s = self._now() + seconds

        async def session(name: int) -> None:
            number = name
            while self._now() < end_s:
                await self._send(name, number)
                number += 1

        began_s = self._now()
        await asyncio.gather(*(session(name) for name in range(len(self._clips))))
        return len(self.latencies_ms) / (self._now() - began_s)

    async def pace(self, seconds: float, fps: float) -> None:
        """The sessions send frames in turns, at this rate, whatever comes back."""
        self._clear()
        began_s, tasks = self._now(), list[asyncio.Task[None]]()
        for number in range(round(seconds * fps)):
            await asyncio.sleep(max(began_s + number / fps - self._now(), 0.0))
            tasks.append(asyncio.create_task(self._send(number % min(_PACED_SESSIONS, len(self._clips)), number)))
        await asyncio.gather(*tasks)

    async def _send(self, session: int, number: int) -> None:
        began_s = self._now()
        frame = self._clips[session][number % _CLIP_FRAMES]
        result = await self._engine.reconstruct(ReconstructionRequest(session, session, frame))
        self.latencies_ms.append((self._now() - began_s) * 1e3)
        self.queue_ms.append(result.stages_ms["queue"])

    def _clear(self) -> None:
        self.latencies_ms.clear()
        self.queue_ms.clear()


def stream(seed: int) -> list[LabelFrame]:
    """A clip of one person whose slow labels stay as they are in the first frame."""
    frames = clip(_CLIP_FRAMES, seed)
    slow = {name: row for name, row in frames[0].people[0].labels.items() if name not in FAST_GROUPS}
    return [
        replace(frame, people=(replace(frame.people[0], labels={**frame.people[0].labels, **slow}),))
        for frame in frames
    ]


def processor_seconds() -> float:
    """Processor time so far of this process and of all processes below it that live."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may have spaces.
            fields = path.read_text().rpartition(")")[2].split()
            process = int(path.parent.name)
            parents[process], ticks[process] = int(fields[1]), int(fields[11]) + int(fields[12])
    family, before = {os.getpid()}, 0
    while len(family) > before:
        before = len(family)
        family |= {process for process, parent in parents.items() if parent in family}
    return sum(ticks[process] for process in family) / os.sysconf("SC_CLK_TCK")


async def measure(
    make_engine: Callable[[Batches], LocalEngine | PoolEngine],
    clips: Sequence[Sequence[LabelFrame]],
    seconds: float,
    paced_fps: float | None,
) -> tuple[Figures, Counter[int]]:
    """Measures one engine under load, then at a third of it.

    Args:
        paced_fps: rate at a third of the load; None for a third of what this engine does under load.
    """
    batches = Batches()
    engine = make_engine(batches)
    if isinstance(engine, PoolEngine):
        await engine.start()
    sessions = Sessions(engine, clips)
    await sessions.saturate(_WARM_UP_S)
    batches.sizes.clear()
    began_cpu_s = processor_seconds()
    fps = await sessions.saturate(seconds)
    cpu_ms = (processor_seconds() - began_cpu_s) * 1e3 / len(sessions.latencies_ms)
    figures = {"fps": fps, "load_p95_ms": percentile(sessions.latencies_ms, 95), "cpu_ms": cpu_ms}
    sizes = Counter(batches.sizes)
    await sessions.pace(seconds, fps / 3 if paced_fps is None else paced_fps)
    figures |= {f"third_p{share}_ms": percentile(sessions.latencies_ms, share) for share in (50, 95)}
    figures["queue_p50_ms"] = percentile(sessions.queue_ms, 50)
    await engine.close()
    return figures, sizes


@contextmanager
def engine_maker(system: str, device: torch.device = CPU) -> Iterator[Callable[[Batches], LocalEngine | PoolEngine]]:
    """Makes the engine of a system; its pool lives as long as the block.

    Args:
        device: of the local engine's networks.
    """
    config = BatchingConfig()
    if system not in POOLS:
        reconstructor = Reconstructor.load(device=device)
        yield lambda batches: LocalEngine(reconstructor, config, observer=batches)
        return
    settings = ReplicaSettings(SurfaceConfig(), "cpu", threads=1)
    with open_pool(EngineConfig("ray", replicas=POOLS[system]), settings) as pool:
        yield lambda batches: PoolEngine(pool, config, observer=batches)


def batch_shares(sizes: Counter[int]) -> Figures:
    """Share of batches by number of people."""
    return {str(people): count / sizes.total() for people, count in sorted(sizes.items())}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("scale", __doc__, 1)
    sessions = report.at_least(1)
    parser.add_argument("--sessions", type=sessions, nargs="+", metavar="N", help="local engine alone (default: 8)")
    parser.add_argument(
        "--device", type=DeviceConfig, default=DeviceConfig("cpu"), help="local engine alone, as --device"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    device = resolve_device(options.device.device)
    seconds = QUICK_SECONDS if options.quick else SECONDS
    systems: dict[str, Figures] = {}
    shares: dict[str, Figures] = {}
    alone = options.sessions is not None or device != CPU
    for count, system in itertools.product(options.sessions or [_SESSIONS], ("local",) if alone else ("local", *POOLS)):
        clips = [stream(options.seed + session) for session in range(count)]
        name = f"{system}, {count} sessions on {device}" if alone else system
        paced_fps = None if alone or system == "local" else systems["local"]["fps"] / 3
        with engine_maker(system, device) as make_engine:
            systems[name], sizes = asyncio.run(measure(make_engine, clips, seconds, paced_fps))
        if not alone:
            systems[name]["added_p95_ms"] = systems[name]["third_p95_ms"] - systems["local"]["third_p95_ms"]
        shares[name] = batch_shares(sizes)
        report.progress(f"{name}: {systems[name]}")
    people = sorted({size for figures in shares.values() for size in figures}, key=int)
    print(f"sessions of one person, {seconds:g} s each, {report.machine_line()}\n")
    print(report.table(systems))
    print("\nShare of batches by people, under load:\n")
    print(report.table(shares, people))
    report.write_json(options, systems, batch_shares=shares)


if __name__ == "__main__":
    sys.exit(main())
