"""The simulated pool: virtual time, cores that are shared, and the receiver's own queue on top."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.errors import UsageError
from receiver.engine.pool.pool import BatchDone, PersonWork
from tests.bench.scale import stream
from tests.bench.scale_calibration import BatchFigures, Calibration, closed_loop
from tests.bench.scale_fronts import cpu_seconds, memory_mb, published, size
from tests.bench.scale_model import Machine, Process, SimulatedPool, VirtualLoop, run
from tests.bench.scale_plan import Assumptions, live, most_sessions, read_fronts, replica_rate, size_of
from tests.bench.scale_simulation import merged, simulated_sessions

CLIP = stream(1)
FRONT = {"cpu_ms": 5.0, "idle_cores": 0.1, "base_mb": 500.0, "session_mb": 2.0, "disk_kb": 1000.0, "result_kb": 800.0}


def calibration(alone_s: float = 0.1, speedup: float = 1.0, cores: float = 2.0) -> Calibration:
    """Batches that take equally long for each person, on one core."""
    batches = {
        people: BatchFigures((alone_s * people,), networks_s=0.01 * people, cores=1.0, speedup=speedup)
        for people in (1, 2, 4, 8)
    }
    return Calibration(batches, cores, {})


def test_virtual_time_passes_at_once() -> None:
    async def wait() -> float:
        await asyncio.sleep(1e6)
        return asyncio.get_running_loop().time()

    assert run(wait()) == pytest.approx(1e6)


def test_simulation_that_waits_for_nothing_ends_with_an_error() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="never happens"):
        run(wait())


async def ends(machine: Machine, *jobs: tuple[Process, float, float]) -> list[float]:
    """When jobs of (process, start, seconds) end."""

    async def job(process: Process, start_s: float, seconds: float) -> float:
        await asyncio.sleep(start_s)
        await machine.work(process, seconds)
        return asyncio.get_running_loop().time()

    return list(await asyncio.gather(*(job(*each) for each in jobs)))


def test_processes_have_a_core_each_while_there_are_enough() -> None:
    machine = Machine(2.0)
    first, second = machine.start(Process()), machine.start(Process())
    assert run(ends(machine, (first, 0.0, 3.0), (second, 0.0, 2.0))) == pytest.approx([3.0, 2.0])


def test_processes_share_a_core_equally() -> None:
    machine = Machine(1.0)
    first, second = machine.start(Process()), machine.start(Process())
    # Alone for 1 s, then both at half pace; the second has 1 s of work, and the first 1 s left when it ends.
    assert run(ends(machine, (first, 0.0, 3.0), (second, 1.0, 1.0))) == pytest.approx([4.0, 3.0])


def test_process_does_its_jobs_in_order_and_faster_while_it_has_two() -> None:
    machine = Machine(2.0)
    process = machine.start(Process(speedup=1.5))
    assert run(ends(machine, (process, 0.0, 1.5), (process, 0.0, 1.5))) == pytest.approx([1.0, 2.5])


def test_speedup_needs_cores() -> None:
    machine = Machine(1.0)
    process = machine.start(Process(speedup=1.5))
    assert run(ends(machine, (process, 0.0, 1.5), (process, 0.0, 1.5))) == pytest.approx([1.5, 3.0])


def test_one_session_gets_a_frame_in_the_time_of_a_batch() -> None:
    fps, latencies_ms = run(simulated_sessions(calibration(), 1, [CLIP], 1))
    assert fps == pytest.approx(10, rel=0.01)
    assert np.median(latencies_ms) == pytest.approx(100, rel=0.01)


def test_second_replica_doubles_the_frames_of_many_sessions() -> None:
    one, two = (run(simulated_sessions(calibration(), replicas, [CLIP] * 8, 1))[0] for replicas in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.05)


def test_second_replica_without_a_core_gains_nothing() -> None:
    one, two = (run(simulated_sessions(calibration(cores=1.0), count, [CLIP] * 8, 1))[0] for count in (1, 2))
    assert two == pytest.approx(one, rel=0.05)


def test_replica_takes_no_third_batch() -> None:
    async def overfill() -> None:
        pool = SimulatedPool(calibration(), [(1.0, 1)], np.random.default_rng(1))
        assert await pool.replicas() == pool.most_replicas == 1
        await asyncio.gather(*(pool.reconstruct([]) for _ in range(3)))

    with pytest.raises(Exception, match="as many batches as it takes"):
        run(overfill())


def test_live_sessions_below_and_above_what_a_replica_does() -> None:
    below = run(live(calibration(0.05), 1, 1.0, sessions=1, fps=10.0, clip=CLIP))
    above = run(live(calibration(0.05), 1, 1.0, sessions=4, fps=10.0, clip=CLIP))
    assert below["fps"] == pytest.approx(10, rel=0.05)
    assert below["dropped_share"] == 0.0
    # Twenty people a second for four sessions.
    assert above["fps"] == pytest.approx(5, rel=0.1)
    assert above["dropped_share"] == pytest.approx(0.5, abs=0.1)


def test_most_sessions_are_found_below_the_work_that_replicas_can_do() -> None:
    assert replica_rate(calibration(0.02), 1.0) == pytest.approx(50)
    # Two replicas with fifty people a second each, for sessions of ten.
    assert 6 <= most_sessions(calibration(0.02), 10.0, Assumptions(), CLIP, replicas=2) <= 10


def test_needs_grow_with_the_sessions() -> None:
    per = {"front_sessions": 10.0, "sessions_per_replica": 2.0}
    small, large = (size_of(count, 30.0, per, FRONT, Assumptions()) for count in (100, 1000))
    assert (small["fronts"], small["replicas"]) == (10, 50)
    for key in ("fronts", "replicas", "cores", "in_gbit_s", "pool_gbit_s", "disk_gb_s", "egress_usd_h"):
        assert large[key] == pytest.approx(10 * small[key]), key
    assert small["disk_gb_s"] == pytest.approx(100 * 30 * 1e6 / 1e9)
    assert small["session_usd_h"] == pytest.approx(large["session_usd_h"])


def test_calibration_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    calibration(0.123).write(path)
    assert Calibration.read(path) == calibration(0.123)


@pytest.mark.parametrize("text", ["", "[]", '{"batches": {"1": {"alone_s": [1]}}, "cores": 1, "machine": {}}'])
def test_other_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="--calibrate"):
        Calibration.read(path)


def test_rounds_are_merged() -> None:
    first, second = calibration(0.1, speedup=1.0).batches, calibration(0.2, speedup=1.4).batches
    found = merged([first, second])[1]
    assert found.alone_s == (0.1, 0.2)
    assert found.speedup == pytest.approx(1.2)


def test_engine_runs_in_a_virtual_loop() -> None:
    async def kind() -> type:
        return type(asyncio.get_running_loop())

    assert run(kind()) is VirtualLoop


class InstantPool:
    """Answers every batch at once, and counts them."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def reconstruct(self, batch: Sequence[PersonWork]) -> BatchDone:
        self.sizes.append(len(batch))
        await asyncio.sleep(0)
        return BatchDone((), {"decode": 2.0, "body": 3.0}, 0.0)


async def test_closed_loop_keeps_batches_of_one_size_in_hand() -> None:
    pool = InstantPool()
    loop = await closed_loop(pool, CLIP, people=3, in_hand=2, seconds=0.02)  # type: ignore[arg-type]
    assert set(pool.sizes) == {3}
    assert len(loop.times_s) == len(pool.sizes) >= 2
    assert loop.networks_s == pytest.approx(0.005)


def test_front_is_read_from_its_output_and_its_process(tmp_path: Path) -> None:
    assert published(tmp_path) == 0
    (tmp_path / "frames.jsonl").write_text("{}\n{}\n")
    assert (published(tmp_path), size(tmp_path)) == (2, 6)
    assert cpu_seconds(os.getpid()) > 0
    assert memory_mb(os.getpid()) > 10


@pytest.mark.parametrize("text", ["", "[]", '{"systems": {"every frame": {"cpu_ms": "fast"}}}'])
def test_file_that_is_not_of_the_fronts_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fronts.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="scale_fronts"):
        read_fronts(path)
