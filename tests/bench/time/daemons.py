"""Both daemons on this machine, the demo clip from end to end: `python -m tests.bench.daemons`.

    file   the clip as fast as it goes, as in `make demo`
    live   the clip there and back for 25 s as the pictures of a camera, 30 a second: late ones are left out
    two    the same with two people beside each other

`--against CHECKOUT` runs another version by turns; figures are medians of the turns, and `ratio` is ours to theirs.

    listening_s            from the receiver's command to the line with its address
    first_frame_s          from the sender's command, then, to the first frame written

Counted from the frame `WARM_UP` on, at the files and the processes:

    fps                    frames written a second
    age_p50_ms, age_p95_ms from capture to written meshes, of the camera
    sender_ms, receiver_ms processor time of each process a frame; `both_ms` is their sum
    <stage>_ms             time of each stage a pass, by the sender's metrics and the receiver's records
"""

import argparse
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from common.errors import OutputError
from tests.bench import report
from tests.bench.measures import percentile
from tests.support.processes.demo_clip import demo_pictures
from tests.support.processes.free_port import free_port

SEED = 0
WARM_UP = 40
TURNS, QUICK_TURNS = 5, 2
KINDS = ("file", "live", "two")
FPS, CAMERA_S = 30, 25.0
ROOT = Path(__file__).parents[3]
_LIMIT_S, _LOOK_S = 120.0, 0.05
_CLIP_FRAMES = 300
# Reading the metrics takes time of the sender's, too.
_SCRAPED_LOOKS = 40

Figures = dict[str, float]


class Daemon:
    """A daemon of a checkout; what it prints goes to a file.

    Args:
        within: the beginning of its command, such as `TwoHosts.prefix`.
    """

    def __init__(self, checkout: Path, log: Path, *words: str, within: Sequence[str] = ()) -> None:
        self.log, environment = log, {**os.environ, "PYTHONPATH": str(checkout)}
        command = [*within, sys.executable, "-m", *words]
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=file, stderr=file)

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Raises OutputError if the daemon fails before, or takes too long."""
        end = time.monotonic() + _LIMIT_S
        while not done():
            if self.process.poll() or time.monotonic() > end:
                self.process.kill()
                raise OutputError(f"a daemon failed: {self.log.read_text(errors='replace')[-600:]}")
            time.sleep(_LOOK_S)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()

    def processor_ms(self) -> float:
        """Processor time until now, with that of the processes that it has started.

        Raises OSError or IndexError when the daemon has ended.
        """
        return _processor_ms(self.process.pid) + sum(map(_processor_ms, self.children()))

    def children(self) -> list[int]:
        """The processes of its own that run."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def memory_mb(self, what: str = "VmRSS") -> float:
        """Memory now, or the most since that was last reset (`VmHWM`). Raises OSError."""
        return _memory_mb(self.process.pid, what)

    def used(self) -> Figures:
        """Memory, that of its children, descriptors and threads. Raises OSError when the daemon has ended."""
        folder = Path(f"/proc/{self.process.pid}")
        own = {"files": float(len(os.listdir(folder / "fd"))), "threads": float(len(os.listdir(folder / "task")))}
        return {
            "mb": self.memory_mb(),
            "children_mb": sum(_memory_mb(each, "VmRSS") for each in self.children()),
            **own,
        }


def started_receiver(out: Path, log: Path, *flags: str, within: Sequence[str] = ()) -> tuple[Daemon, str, str]:
    """A receiver with a page that asks for no token, its address for senders, and the page's.

    Args:
        within: see `Daemon`.

    Raises:
        OutputError: it does not start.
    """
    words = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token", "none", "--out", str(out))
    daemon = Daemon(ROOT, log, "receiver", *words, *flags, within=within)
    daemon.wait_until(lambda: b"page: " in log.read_bytes())
    listening, page = re.findall(r"^(?:listening on|page:) (\S+)", log.read_text(), re.MULTILINE)
    return daemon, listening, page.rstrip("/")


def _processor_ms(pid: int) -> float:
    """Processor time of a process, and of those that it has started and that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1e3 * sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    # One that has ended, and waits for its parent, has none.
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(what)), 0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """At a time, the frames that were written, and the processor time of both daemons."""

    at_s: float
    frames: int
    sender_ms: float
    receiver_ms: float


class Camera(threading.Thread):
    """Sends the clip's pictures to a sender's socket."""

    def __init__(self, path: Path, fps: float = FPS, seconds: float = CAMERA_S, people: int = 1) -> None:
        super().__init__(daemon=True)
        self._path, self._fps, self._seconds = path, fps, seconds
        self._pictures = demo_pictures(_CLIP_FRAMES, people)

    def run(self) -> None:
        pictures = cycle([*self._pictures, *reversed(self._pictures)])
        # The sender may end before.
        with suppress(BrokenPipeError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._path))
            threading.Thread(target=connection.makefile("rb").read, daemon=True).start()
            began = time.time()
            for number in range(int(self._fps * self._seconds)):
                time.sleep(max(began + number / self._fps - time.time(), 0))
                head = json.dumps({"name": "demo", "captured_at": began + number / self._fps}).encode()
                picture = next(pictures)
                connection.sendall(struct.pack("<II", len(head), len(picture)) + head + picture)
            connection.shutdown(socket.SHUT_RDWR)


class Pair:
    """A checkout's receiver, and its sender with the demo clip as a file or as a camera.

    Raises:
        OutputError: one of them failed.
    """

    def __init__(self, checkout: Path, kind: str, folder: Path) -> None:
        self._metrics, address, self._out = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", folder / "out"
        words: tuple[str, ...] = ("receiver", "--listen", address, "--no-page", "--out", str(self._out))
        began_s = time.monotonic()
        self.receiver = Daemon(checkout, folder / "receiver.log", *words)
        self.receiver.wait_until(lambda: b"listening" in self.receiver.log.read_bytes())
        self._listening_s = time.monotonic() - began_s
        pictures, source = folder / "pictures.sock", "demo"
        self._camera = None if kind == "file" else Camera(pictures, people=2 if kind == "two" else 1)
        if self._camera:
            source = f"socket+live:{pictures}"
        words = ("sender", source, "--peer", address, "--metrics", self._metrics)
        self._began_s = time.monotonic()
        self.sender = Daemon(checkout, folder / "sender.log", *words)
        self._stages: Figures = {}
        self._looks: list[Look] = []
        # The records that were read, and how far in which file.
        self._read: list[dict[str, Any]] = []
        self._read_to: dict[Path, int] = {}

    def figures(self) -> Figures:
        """Waits for the clip's end."""
        if self._camera:
            self.sender.wait_until(self._is_connected)
            self._camera.start()
        self.sender.wait_until(lambda: bool(self._frames()))
        first_frame_s = time.monotonic() - self._began_s
        self.sender.wait_until(lambda: len(self._frames()) >= WARM_UP)
        self.sender.wait_until(self._look)
        first, last = self._looks[0], self._looks[-1]
        count, frames = last.frames - first.frames, self._frames()[first.frames : last.frames]
        ages = np.array([frame["age_ms"] for frame in frames])
        names = list(frames[-1]["stages_ms"])
        return {
            "listening_s": self._listening_s,
            "first_frame_s": first_frame_s,
            "fps": count / (last.at_s - first.at_s),
            # A file's frames were captured when its times say so.
            **({"age_p50_ms": percentile(ages, 50), "age_p95_ms": percentile(ages, 95)} if self._camera else {}),
            "sender_ms": (last.sender_ms - first.sender_ms) / count,
            "receiver_ms": (last.receiver_ms - first.receiver_ms) / count,
            "both_ms": (last.sender_ms - first.sender_ms + last.receiver_ms - first.receiver_ms) / count,
            **{f"{name}_ms": ms for name, ms in self._stages.items()},
            **{f"{name}_ms": float(np.mean([frame["stages_ms"].get(name, 0) for frame in frames])) for name in names},
        }

    def _look(self) -> bool:
        """Notes what was used for the frames until now; whether the sender or its camera has ended."""
        frames = len(self._frames())
        # A process that ends meanwhile tells nothing more.
        with suppress(OSError, IndexError):
            if not self._looks or frames > self._looks[-1].frames:
                used = self.sender.processor_ms(), self.receiver.processor_ms()
                self._looks.append(Look(time.monotonic(), frames, *used))
            if len(self._looks) % _SCRAPED_LOOKS == 0:
                self._stages = self._sender_stages()
        return not self._camera.is_alive() if self._camera else self.sender.process.poll() == 0

    def _is_connected(self) -> bool:
        with suppress(OSError):
            return any(one.name.endswith("sender_connected") and one.value for one in self._samples())
        return False

    def _sender_stages(self) -> Figures:
        """Mean time of each stage until now."""
        samples = [one for one in self._samples() if "stage_seconds" in one.name]
        passes = {one.labels["stage"]: one.value for one in samples if one.name.endswith("_count") and one.value}
        sums = {one.labels["stage"]: one.value for one in samples if one.name.endswith("_sum")}
        return {stage: 1e3 * sums[stage] / count for stage, count in passes.items()}

    def _samples(self) -> list[Sample]:
        """The sender's metrics. Raises OSError where it does not serve them."""
        with urlopen(f"http://{self._metrics}/metrics", timeout=3) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return [one for family in families for one in family.samples]

    def _frames(self) -> list[dict[str, Any]]:
        """The records of the frames that are written."""
        for path in self._out.rglob("frames.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read_to.get(path, 0))
                whole, end, _ = file.read().rpartition(b"\n")
            self._read += map(json.loads, whole.splitlines())
            self._read_to[path] = self._read_to.get(path, 0) + len(whole) + len(end)
        return self._read


def play(checkout: Path, kind: str) -> Figures:
    """One run of a checkout's daemons; `kind` is one of `KINDS`. Raises OutputError if one fails."""
    with tempfile.TemporaryDirectory() as name:
        pair = Pair(checkout, kind, Path(name))
        try:
            return pair.figures()
        finally:
            pair.sender.end()
            pair.receiver.end()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("daemons", __doc__, SEED)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another version, run by turns")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    checkouts = {"": ROOT} | ({"against: ": options.against.resolve()} if options.against else {})
    print(report.machine_line())
    systems: dict[str, Figures] = {}
    for kind in KINDS:
        runs: dict[str, list[Figures]] = {version: [] for version in checkouts}
        for _ in range(QUICK_TURNS if options.quick else TURNS):
            for version, checkout in checkouts.items():
                runs[version].append(play(checkout, kind))
        for version, figures in runs.items():
            # A stage that a run never came to has no time there.
            keys = [key for key in figures[0] if all(key in run for run in figures)]
            systems[version + kind] = {key: float(np.median([run[key] for run in figures])) for key in keys}
        if options.against:
            theirs = systems[f"against: {kind}"]
            ratios = {key: value / theirs[key] for key, value in systems[kind].items() if theirs.get(key)}
            systems[f"ratio: {kind}"] = ratios
    print(report.table(systems))
    report.write_json(options, systems)


if __name__ == "__main__":
    sys.exit(main())
