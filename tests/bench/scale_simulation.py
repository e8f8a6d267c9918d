"""A simulated pool beside the real one: `python -m tests.bench.scale_simulation`; needs the extra `ray`.

First the batches of real replicas are timed (`tests.bench.scale_calibration`), for each pool and in short rounds with
the real runs, because what else runs on the machine changes. Then one, two, four and eight sessions, each of which
always has a frame in the engine, are simulated with a pool of one and of two replicas (`tests.bench.scale_model`):

    fps, p95_ms            of the real pool: frames a second, 95th percentile of the time from a request to its result
    simulated_fps, …_ms    of the simulated one
    fps_error, p95_error   relative errors of the simulation

`--calibrate FILE` keeps what was measured with one replica, for `tests.bench.scale_plan`.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.frames import LabelFrame
from receiver.diffusion.stage import SamplingConfig
from receiver.engine.batcher import BatchingConfig
from receiver.engine.pool.cluster import open_pool
from receiver.engine.pool.config import EngineConfig
from receiver.engine.pool.engine import PoolEngine
from receiver.engine.pool.pool import Pool
from receiver.engine.pool.replica import ReplicaSettings
from receiver.surface.stage import SurfaceConfig
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.scale import Sessions, stream
from tests.bench.scale_calibration import BatchFigures, Calibration, measure_batches, measure_cores
from tests.bench.scale_model import SimulatedPool, VirtualLoop, run

SESSIONS = (1, 2, 4, 8)
REPLICAS = (1, 2)
ROUNDS, QUICK_ROUNDS = 7, 2
_BATCH_SECONDS, _RUN_SECONDS, _SIMULATED_SECONDS = 0.8, 2.5, 60.0
_WARM_UP_S = 0.7


async def real_sessions(pool: Pool, clips: Sequence[Sequence[LabelFrame]], seconds: float) -> tuple[float, list[float]]:
    """Frames per second and times of all frames, ms."""
    engine = PoolEngine(pool, BatchingConfig())
    await engine.start()
    sessions = Sessions(engine, clips)
    await sessions.saturate(_WARM_UP_S)
    fps = await sessions.saturate(seconds)
    await engine.close()
    return fps, sessions.latencies_ms


async def simulated_sessions(
    calibration: Calibration, replicas: int, clips: Sequence[Sequence[LabelFrame]], seed: int
) -> tuple[float, list[float]]:
    """The same in virtual time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    pool = SimulatedPool(calibration, [(calibration.cores, replicas)], np.random.default_rng(seed))
    engine = PoolEngine(pool, BatchingConfig(), loop.clock)
    await engine.start()
    sessions = Sessions(engine, clips, loop.time)
    await sessions.saturate(_WARM_UP_S)
    fps = await sessions.saturate(_SIMULATED_SECONDS)
    await engine.close()
    return fps, sessions.latencies_ms


def merged(rounds: Sequence[dict[int, BatchFigures]]) -> dict[int, BatchFigures]:
    """All times of all rounds, and the means of the other figures."""
    return {
        people: BatchFigures(
            tuple(time_s for each in rounds for time_s in each[people].alone_s),
            *(
                float(np.mean([getattr(each[people], name) for each in rounds]))
                for name in ("networks_s", "cores", "speedup")
            ),
        )
        for people in rounds[0]
    }


def measure(
    clips: Sequence[Sequence[LabelFrame]], rounds: int
) -> tuple[dict[int, Calibration], dict[str, dict[str, float]]]:
    """A calibration for each pool, by its replicas, and the real sessions in between."""
    settings = ReplicaSettings(SamplingConfig(), SurfaceConfig(), "cpu", threads=1)
    frames = [frame for clip in clips for frame in clip]
    batches: dict[int, dict[int, BatchFigures]] = {}
    cores: list[float] = []
    figures: dict[str, dict[str, float]] = {}
    for replicas in REPLICAS:
        timed: list[dict[int, BatchFigures]] = []
        found: dict[int, list[tuple[float, list[float]]]] = {count: [] for count in SESSIONS}
        with open_pool(EngineConfig("ray", replicas=replicas), settings) as pool:
            for number in range(rounds):
                timed.append(asyncio.run(measure_batches(pool, frames, _BATCH_SECONDS, batches.get(1))))
                if replicas > 1:
                    cores.append(asyncio.run(measure_cores(pool, replicas, frames, timed[-1], 2 * _BATCH_SECONDS)))
                for count in SESSIONS:
                    found[count].append(asyncio.run(real_sessions(pool, clips[:count], _RUN_SECONDS)))
                report.progress(f"{replicas} replicas, round {number + 1} of {rounds}")
        batches[replicas] = merged(timed)
        for count, runs in found.items():
            latencies_ms = [latency_ms for _, each in runs for latency_ms in each]
            figures[f"{replicas} replicas, {count} sessions"] = {
                "fps": float(np.mean([fps for fps, _ in runs])),
                "p95_ms": percentile(latencies_ms, 95),
            }
    mean_cores = float(np.mean(cores))
    return {replicas: Calibration(each, mean_cores, report.machine()) for replicas, each in batches.items()}, figures


def compare(
    calibrations: dict[int, Calibration],
    figures: dict[str, dict[str, float]],
    clips: Sequence[Sequence[LabelFrame]],
    seed: int,
) -> None:
    """Adds the simulated figures to the measured ones."""
    for replicas, calibration in calibrations.items():
        for count in SESSIONS:
            fps, latencies_ms = run(simulated_sessions(calibration, replicas, clips[:count], seed))
            row, p95_ms = figures[f"{replicas} replicas, {count} sessions"], percentile(latencies_ms, 95)
            row |= {"simulated_fps": fps, "simulated_p95_ms": p95_ms}
            row |= {"fps_error": fps / row["fps"] - 1, "p95_error": p95_ms / row["p95_ms"] - 1}


def batch_table(calibrations: dict[int, Calibration]) -> report.Systems:
    """The calibrations as rows."""
    return {
        f"{replicas} replicas, {people} people": {
            "alone_p50_ms": percentile(np.array(batch.alone_s) * 1e3, 50),
            "alone_p95_ms": percentile(np.array(batch.alone_s) * 1e3, 95),
            "networks_ms": batch.networks_s * 1e3,
            "cores": batch.cores,
            "speedup": batch.speedup,
        }
        for replicas, calibration in calibrations.items()
        for people, batch in calibration.batches.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("scale_simulation", "Compare a simulated pool of replicas with the real one.", 1)
    parser.add_argument("--calibrate", type=Path, metavar="FILE", help="write what was measured of batches here")
    options = parser.parse_args(arguments)

    def work() -> None:
        torch.set_num_threads(1)
        clips = [stream(options.seed + session) for session in range(max(SESSIONS))]
        calibrations, figures = measure(clips, QUICK_ROUNDS if options.quick else ROUNDS)
        if options.calibrate:
            calibrations[1].write(options.calibrate)
        compare(calibrations, figures, clips, options.seed)
        batches = batch_table(calibrations)
        print(f"{report.machine_line()}; {calibrations[1].cores:.2f} cores for the pool\n")
        print(report.table(batches))
        print()
        print(report.table(figures))
        report.write_json(options.json, "scale_simulation", options.seed, figures, batches=batches)

    return report.run("scale_simulation", work)


if __name__ == "__main__":
    sys.exit(main())
