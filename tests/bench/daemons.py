"""Both daemons on this machine, the demo clip from end to end: `python -m tests.bench.daemons`.

    file   the clip as fast as it goes, as in `make demo`
    live   the clip three times at its own pace, as from a camera: late frames are left out

`--against CHECKOUT` runs another version by turns; figures are medians of the turns, and `ratio` is ours to theirs.
Counted from the frame `WARM_UP` on, at the files and the processes:

    fps                    frames written a second
    age_p50_ms, age_p95_ms from capture to written meshes, of the live clip
    sender_ms, receiver_ms processor time of each process a frame; `both_ms` is their sum
    <stage>_ms             time of each stage a pass, by the sender's metrics and the receiver's records

`--cores N` leaves N cores to each daemon.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from common.errors import OutputError
from sender.capture.open import DEMO_CLIP
from tests.bench import report
from tests.bench.measures import percentile
from tests.support.demo_clip import looped_clip
from tests.support.free_port import free_port

SEED = 0
WARM_UP = 40
TURNS, QUICK_TURNS = 5, 2
PLAYS: dict[str, tuple[str, ...]] = {"file": (), "live": ("--realtime", "--delivery", "live")}
LOOPS = 3
_ROOT = Path(__file__).parents[2]
_LIMIT_S, _LOOK_S = 120.0, 0.05
# Reading the metrics takes time of the sender's, too.
_SCRAPED_LOOKS = 40

Figures = dict[str, float]


class Daemon:
    """A daemon of a checkout; what it prints goes to a file."""

    def __init__(self, checkout: Path, log: Path, cores: int | None, *words: str) -> None:
        self.log, environment = log, {**os.environ, "PYTHONPATH": str(checkout)}
        chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        command = ["taskset", "-c", chosen, sys.executable, "-m", *words]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=file, stderr=file)

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Raises OutputError if the daemon ends before, or takes too long."""
        end = time.monotonic() + _LIMIT_S
        while not done():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise OutputError(f"a daemon failed: {self.log.read_text(errors='replace')[-600:]}")
            time.sleep(_LOOK_S)

    def processor_ms(self) -> float:
        """Processor time until now. Raises OSError or IndexError when the daemon has ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1e3 * sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Look:
    """At a time, the frames that were written, and the processor time of both daemons."""

    at_s: float
    frames: int
    sender_ms: float
    receiver_ms: float


class Pair:
    """A checkout's receiver, and a sender that plays a clip to it.

    Raises:
        OutputError: one of them failed.
    """

    def __init__(self, checkout: Path, clip: Path, folder: Path, cores: int | None, flags: Sequence[str]) -> None:
        self._metrics, address, self._out = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", folder / "out"
        words = ("receiver", "--listen", address, "--no-page", "--out", str(self._out))
        self.receiver = Daemon(checkout, folder / "receiver.log", cores, *words)
        self.receiver.wait_until(lambda: b"listening" in self.receiver.log.read_bytes())
        words = ("sender", str(clip), "--peer", address, "--metrics", self._metrics, *flags)
        self.sender = Daemon(checkout, folder / "sender.log", cores, *words)
        self._stages: Figures = {}
        self._looks: list[Look] = []

    def figures(self) -> Figures:
        """Waits for the clip's end."""
        self.sender.wait_until(lambda: len(self._frames()) >= WARM_UP)
        self.sender.wait_until(self._look)
        first, last = self._looks[0], self._looks[-1]
        count, frames = last.frames - first.frames, self._frames()[first.frames : last.frames]
        ages = np.array([frame["age_ms"] for frame in frames])
        names = list(frames[-1]["stages_ms"])
        return {
            "fps": count / (last.at_s - first.at_s),
            "age_p50_ms": percentile(ages, 50),
            "age_p95_ms": percentile(ages, 95),
            "sender_ms": (last.sender_ms - first.sender_ms) / count,
            "receiver_ms": (last.receiver_ms - first.receiver_ms) / count,
            "both_ms": (last.sender_ms - first.sender_ms + last.receiver_ms - first.receiver_ms) / count,
            **{f"{name}_ms": ms for name, ms in self._stages.items()},
            **{f"{name}_ms": float(np.mean([frame["stages_ms"].get(name, 0) for frame in frames])) for name in names},
        }

    def _look(self) -> bool:
        """Notes what was used for the frames until now; whether the sender has ended."""
        frames = len(self._frames())
        # A process that ends meanwhile tells nothing more.
        with suppress(OSError, IndexError):
            if not self._looks or frames > self._looks[-1].frames:
                used = self.sender.processor_ms(), self.receiver.processor_ms()
                self._looks.append(Look(time.monotonic(), frames, *used))
            if len(self._looks) % _SCRAPED_LOOKS == 0:
                self._stages = self._sender_stages()
        return self.sender.process.poll() == 0

    def _sender_stages(self) -> Figures:
        """Mean time of each stage until now."""
        with urlopen(f"http://{self._metrics}/metrics", timeout=3) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = [one for family in families for one in family.samples if "stage_seconds" in one.name]
        passes = {one.labels["stage"]: one.value for one in samples if one.name.endswith("_count") and one.value}
        sums = {one.labels["stage"]: one.value for one in samples if one.name.endswith("_sum")}
        return {stage: 1e3 * sums[stage] / count for stage, count in passes.items()}

    def _frames(self) -> list[dict[str, Any]]:
        """The records of the frames that are written."""
        files = self._out.rglob("frames.jsonl")
        whole = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
        return [json.loads(line) for line in whole if line.endswith(b"\n")]


def play(checkout: Path, kind: str, cores: int | None) -> Figures:
    """One run of a checkout's daemons; `kind` is a key of `PLAYS`. Raises OutputError if one fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = looped_clip(folder / "clip.mp4", LOOPS) if kind == "live" else DEMO_CLIP
        pair = Pair(checkout, clip, folder, cores, PLAYS[kind])
        try:
            figures = pair.figures()
        finally:
            pair.receiver.process.terminate()
            pair.receiver.process.wait()
        # A file's frames were captured when its times say so.
        return figures if kind == "live" else {key: figures[key] for key in figures if "age" not in key}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("daemons", __doc__, SEED)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another version, run by turns")
    parser.add_argument("--cores", type=int, metavar="N", help="cores of each daemon (default: all)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    checkouts = {"": _ROOT} | ({"against: ": options.against.resolve()} if options.against else {})
    print(report.machine_line())
    systems: dict[str, Figures] = {}
    for kind in PLAYS:
        runs: dict[str, list[Figures]] = {version: [] for version in checkouts}
        for _ in range(QUICK_TURNS if options.quick else TURNS):
            for version, checkout in checkouts.items():
                runs[version].append(play(checkout, kind, options.cores))
        for version, figures in runs.items():
            systems[version + kind] = {key: float(np.median([run[key] for run in figures])) for key in figures[0]}
        if options.against:
            theirs = systems[f"against: {kind}"]
            systems[f"ratio: {kind}"] = {key: value / theirs[key] for key, value in systems[kind].items()}
    print(report.table(systems))
    report.write_json(options, systems)


if __name__ == "__main__":
    sys.exit(main())
