"""What a front of a pool costs: `python -m tests.bench.scale_fronts`; needs the extra `ray`.

A real receiver with a pool of one replica takes live sessions of one person over the loopback, without TLS, slowly
enough that no frame is late. Systems write the meshes of every frame, as is the default, or of every thirtieth:

    cpu_ms            processor time of the receiver's process for a frame: link, codec, queue, results, files
    idle_cores        cores that it uses without sessions
    base_mb           its memory with one session
    session_mb        how much more it is for each further one
    disk_kb           written to the output for a frame
    result_kb         what a replica answers for a frame, pickled: it goes from the replica's machine to the front's
    request_kb        what it is asked
"""

import asyncio
import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.errors import OutputError
from common.weights.manifest import model_hash
from receiver.diffusion.stage import SamplingConfig
from receiver.engine.pool.pool import PersonWork
from receiver.engine.pool.replica import Replica, ReplicaSettings
from receiver.surface.stage import SurfaceConfig
from tests.bench import report
from tests.bench.scale import stream
from tests.e2e.daemons import receiver

SYSTEMS: Mapping[str, Sequence[str]] = {"every frame": (), "every 30th frame": ("--mesh-every", "30", "--no-body")}
_FEW, _MANY, _FRAMES_PER_SECOND = 1, 5, 4.0
_SECONDS, _QUICK_SECONDS = 24.0, 12.0
_SETTLING_S, _IDLE_S = 6.0, 4.0
# Sources load torch when they start, and go on until they are killed.
_START_TIMEOUT_S, _SOURCE_S = 300.0, 3600.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> float:
    """Its resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def published(out: Path) -> int:
    """Frames in its output."""
    lines = out / "frames.jsonl"
    return lines.read_text().count("\n") if lines.exists() else 0


@contextlib.contextmanager
def sources(address: str, count: int, fps: float) -> Iterator[None]:
    """Live sessions that send labels; they end with the block."""
    command = [sys.executable, "-m", "tests.netlab.source", "--peer", address, "--fps", str(fps)]
    command += ["--seconds", str(_SOURCE_S), "--model", model_hash().hex()]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
        if any(process.poll() not in (None, 0) for process in running):
            raise OutputError("a source failed; see its error above")
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(flags: Sequence[str], seconds: float) -> dict[str, float]:
    """Measures one receiver, with few sessions and with many."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with receiver(out, "--engine", "ray", "--replicas", "1", *flags) as running:
            pid = running.process.pid
            began_s = cpu_seconds(pid)
            time.sleep(_IDLE_S)
            idle_cores = (cpu_seconds(pid) - began_s) / _IDLE_S
            memory: dict[int, float] = {}
            cpu_s = frames = written = 0.0
            for count in (_FEW, _MANY):
                with sources(running.address, count, _FRAMES_PER_SECOND / count):
                    wait_for_frames(out, published(out) + 4 * count)
                    time.sleep(_SETTLING_S)
                    before = cpu_seconds(pid), published(out), size(out), time.monotonic()
                    time.sleep(seconds)
                    took_s = time.monotonic() - before[3]
                    cpu_s += cpu_seconds(pid) - before[0] - idle_cores * took_s
                    frames += published(out) - before[1]
                    written += size(out) - before[2]
                    memory[count] = memory_mb(pid)
    return {
        "cpu_ms": cpu_s * 1e3 / frames,
        "idle_cores": idle_cores,
        "base_mb": memory[_FEW],
        "session_mb": (memory[_MANY] - memory[_FEW]) / (_MANY - _FEW),
        "disk_kb": written / frames / 1e3,
    }


def wait_for_frames(out: Path, count: int) -> None:
    """Waits until so many frames are published."""
    until_s = time.monotonic() + _START_TIMEOUT_S
    while published(out) < count:
        if time.monotonic() > until_s:
            raise OutputError("the receiver publishes no frames")
        time.sleep(0.2)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def traffic() -> dict[str, float]:
    """Bytes between a front and a replica for a frame of one person."""
    replica = Replica(ReplicaSettings(SamplingConfig(), SurfaceConfig(), "cpu", threads=1))
    work = [PersonWork(frame, 1) for frame in stream(1)[:4]]
    sizes = [len(pickle.dumps(asyncio.run(replica.reconstruct([each])), protocol=5)) for each in work]
    requests = [len(pickle.dumps([each], protocol=5)) for each in work]
    return {"result_kb": sum(sizes) / len(sizes) / 1e3, "request_kb": sum(requests) / len(requests) / 1e3}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("scale_fronts", "Measure what a front of a pool costs.", 1)
    options = parser.parse_args(arguments)

    def work() -> None:
        between = traffic()
        systems: dict[str, dict[str, float]] = {}
        for name, flags in SYSTEMS.items():
            systems[name] = measure(flags, _QUICK_SECONDS if options.quick else _SECONDS) | between
            report.progress(f"{name}: {systems[name]}")
        print(
            f"{_FEW} and {_MANY} sessions, {_FRAMES_PER_SECOND:g} frames a second together, {report.machine_line()}\n"
        )
        print(report.table(systems))
        report.write_json(options.json, "scale_fronts", options.seed, systems)

    return report.run("scale_fronts", work)


if __name__ == "__main__":
    sys.exit(main())
