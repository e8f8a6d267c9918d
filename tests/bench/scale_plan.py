"""How many replicas, fronts, bytes and money live sessions need: `python -m tests.bench.scale_plan --calibration FILE`.

`--calibration` is what `tests.bench.scale_simulation --calibrate` has written, `--fronts` the JSON of
`tests.bench.scale_fronts`. Sessions of one person send at 15 or 30 frames a second; a sender that has frames of half a
second unanswered drops the next. Every replica has cores of its own.

First table: the most sessions of a pool of 32 replicas for which the 95th percentile of the time in the engine stays
below the limit, and no more than one frame in a hundred is dropped, by simulation; and how many a front carries, by its
processor time, since a receiver is one Python process. Second table: one cell, a front with the replicas for as many
sessions as it carries, simulated as a whole. Third table: what larger numbers of sessions need. They are so many cells,
which share nothing but the address that senders know.
"""

import asyncio
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UsageError
from common.frames import LabelFrame
from receiver.engine.batcher import BatchingConfig
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.pool.engine import PoolEngine
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.scale import stream
from tests.bench.scale_calibration import Calibration
from tests.bench.scale_model import SimulatedPool, VirtualLoop, run

FPS = (15.0, 30.0)
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
_POOL_REPLICAS = 32
_SECONDS, _WARM_UP_S, _PATIENCE_S = 12.0, 3.0, 0.5
_LATE_SHARE = 0.01
_GB = 1e9
_MONTH_H = 730.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured.

    Args:
        limit_ms: 95th percentile of the time in the engine that is accepted.
        replica_cores, replica_gb: of each replica.
        front_share: of a core that a front may use for its sessions.
        most_sessions: of a front.
        wire_bytes, back_bytes: of a frame on the link, from the sender and to it (`tests.bench.wire`, means).
        core_hour, gb_hour: price of a core and of a gigabyte of memory.
        egress_gb: price of a gigabyte that leaves the data centre.
        disk_gb_month: price of a gigabyte on disk.
        kept_h: how long meshes are kept.
    """

    limit_ms: float = 200.0
    replica_cores: float = 1.0
    replica_gb: float = 1.3
    front_share: float = 0.7
    most_sessions: int = 64
    wire_bytes: float = 190.0
    back_bytes: float = 100.0
    core_hour: float = 0.04
    gb_hour: float = 0.005
    egress_gb: float = 0.05
    disk_gb_month: float = 0.02
    kept_h: float = 24.0


async def live(
    calibration: Calibration, replicas: int, cores: float, sessions: int, fps: float, clip: Sequence[LabelFrame]
) -> Figures:
    """Live sessions in virtual time: frames a second, times in the engine, share of dropped frames."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    rng = np.random.default_rng(sessions)
    engine = PoolEngine(SimulatedPool(calibration, [(cores, 1)] * replicas, rng), BatchingConfig(), loop.clock)
    await engine.start()
    times_ms: list[float] = []
    dropped = 0

    async def send(name: int, number: int, waiting: list[int]) -> None:
        sent_s = loop.time()
        waiting[0] += 1
        await engine.reconstruct(ReconstructionRequest(name, name, clip[number % len(clip)]))
        waiting[0] -= 1
        if sent_s > _WARM_UP_S:
            times_ms.append((loop.time() - sent_s) * 1e3)

    async def session(name: int) -> None:
        nonlocal dropped
        phase_s, waiting, tasks = float(rng.random()) / fps, [0], []
        for number in range(round(_SECONDS * fps)):
            await asyncio.sleep(max(phase_s + number / fps - loop.time(), 0.0))
            if waiting[0] >= _PATIENCE_S * fps:
                dropped += loop.time() > _WARM_UP_S
            else:
                tasks.append(asyncio.ensure_future(send(name, number, waiting)))
        await asyncio.gather(*tasks)

    await asyncio.gather(*(session(name) for name in range(sessions)))
    await engine.close()
    offered = len(times_ms) + dropped
    return {
        "fps": len(times_ms) / sessions / (_SECONDS - _WARM_UP_S),
        "p50_ms": percentile(times_ms, 50),
        "p95_ms": percentile(times_ms, 95),
        "dropped_share": dropped / offered,
    }


def replica_rate(calibration: Calibration, cores: float) -> float:
    """People per second of a replica that always has two batches of the best size in hand."""
    return max(
        people * len(each.alone_s) / sum(each.alone_s) * min(each.speedup, cores / each.cores)
        for people, each in calibration.batches.items()
    )


def most_sessions(
    calibration: Calibration,
    fps: float,
    assumed: Assumptions,
    clip: Sequence[LabelFrame],
    replicas: int = _POOL_REPLICAS,
) -> int:
    """The most sessions that so many replicas carry within the limit."""
    enough = 0
    too_many = math.ceil(replicas * replica_rate(calibration, assumed.replica_cores) / fps) + 1
    while too_many - enough > 1:
        tried = (enough + too_many) // 2
        figures = run(live(calibration, replicas, assumed.replica_cores, tried, fps, clip))
        if figures["p95_ms"] <= assumed.limit_ms and figures["dropped_share"] <= _LATE_SHARE:
            enough = tried
        else:
            too_many = tried
    return enough


def carried(calibration: Calibration, front: Mapping[str, float], assumed: Assumptions, fps: float,
            clip: Sequence[LabelFrame]) -> Figures:  # fmt: skip
    """Sessions of a replica, of a core and of a front."""
    pool = most_sessions(calibration, fps, assumed, clip)
    if not pool:
        raise UsageError(f"no session of {fps:g} frames a second stays within the limit: give more --limit-ms")
    by_cpu = assumed.front_share / (front["cpu_ms"] / 1e3 * fps)
    return {
        "pool_sessions": pool,
        "sessions_per_replica": pool / _POOL_REPLICAS,
        "sessions_per_core": pool / _POOL_REPLICAS / assumed.replica_cores,
        "front_sessions": max(min(math.floor(by_cpu), assumed.most_sessions), 1),
    }


def size_of(
    sessions: int, fps: float, per: Mapping[str, float], front: Mapping[str, float], assumed: Assumptions
) -> Figures:
    """What so many sessions need."""
    fronts = math.ceil(sessions / per["front_sessions"])
    replicas = math.ceil(sessions / per["sessions_per_replica"])
    frames = sessions * fps
    cores = replicas * assumed.replica_cores + fronts * (1.0 + front["idle_cores"])
    memory_gb = replicas * assumed.replica_gb + (fronts * front["base_mb"] + sessions * front["session_mb"]) / 1e3
    disk_gb_s = frames * front["disk_kb"] * 1e3 / _GB
    out_gb_hour = frames * assumed.back_bytes * 3600 / _GB
    machines = cores * assumed.core_hour + memory_gb * assumed.gb_hour
    kept = disk_gb_s * 3600 * assumed.kept_h * assumed.disk_gb_month / _MONTH_H
    return {
        "fronts": fronts,
        "replicas": replicas,
        "cores": cores,
        "memory_gb": memory_gb,
        "in_gbit_s": frames * assumed.wire_bytes * 8 / _GB,
        "pool_gbit_s": frames * front["result_kb"] * 8e3 / _GB,
        "disk_gb_s": disk_gb_s,
        "machines_usd_h": machines,
        "disk_usd_h": kept,
        "egress_usd_h": out_gb_hour * assumed.egress_gb,
        "session_usd_h": (machines + kept + out_gb_hour * assumed.egress_gb) / sessions,
    }


def read_fronts(path: Path) -> dict[str, dict[str, float]]:
    """The systems of `tests.bench.scale_fronts`.

    Raises:
        UsageError: the file is none of its.
    """
    try:
        systems: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))["systems"]
        return {name: {key: float(value) for key, value in each.items()} for name, each in systems.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not of scale_fronts: {error}; write one with its --json {path}") from error


def plan(calibration: Calibration, fronts: dict[str, dict[str, float]], assumed: Assumptions) -> report.Systems:
    """Prints the tables; returns the last one."""
    clip = stream(1)
    per: dict[str, Figures] = {}
    cells: dict[str, Figures] = {}
    sizes: dict[str, Figures] = {}
    for fps in FPS:
        for name, front in fronts.items():
            key = f"{fps:g} fps, meshes of {name}"
            per[key] = carried(calibration, front, assumed, fps, clip)
            sessions = int(per[key]["front_sessions"])
            replicas = math.ceil(sessions / per[key]["sessions_per_replica"])
            cell = run(live(calibration, replicas, assumed.replica_cores, sessions, fps, clip))
            cells[key] = {"cell_sessions": sessions, "replicas": replicas, **cell}
            report.progress(f"{key}: {per[key]}, {cells[key]}")
            for count in SIZES:
                sizes[f"{count:,} at {key}"] = size_of(count, fps, per[key], front, assumed)
    print(report.table(per))
    print(f"\nOne cell:\n\n{report.table(cells)}")
    print(f"\nSizes:\n\n{report.table(sizes)}")
    return sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("scale_plan", "Plan the capacity of pools.", 1)
    parser.add_argument("--calibration", type=Path, required=True, metavar="FILE", help="of scale_simulation")
    parser.add_argument("--fronts", type=Path, required=True, metavar="FILE", help="JSON of scale_fronts")
    defaults = Assumptions()
    for name in Assumptions.__slots__:
        default = getattr(defaults, name)
        help_text = "see Assumptions in the source (default: %(default)s)"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=help_text)
    options = parser.parse_args(arguments)

    def work() -> None:
        assumed = Assumptions(**{name: getattr(options, name) for name in Assumptions.__slots__})
        calibration = Calibration.read(options.calibration)
        print(f"{assumed}\n")
        sizes = plan(calibration, read_fronts(options.fronts), assumed)
        report.write_json(options.json, "scale_plan", options.seed, sizes)

    return report.run("scale_plan", work)


if __name__ == "__main__":
    sys.exit(main())
