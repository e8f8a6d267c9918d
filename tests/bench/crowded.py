"""Do many senders get in each other's way?  `python -m tests.bench.crowded`.

Fifty recorded streams at 30 frames a second, over the loopback, into one receiver without reconstruction that decodes
every packet.  No frame may be dropped.  Systems:

    all              every sender sends
    one_stalled      one of them is stopped (SIGSTOP), ten seconds of every twenty; the others' times, meanwhile

`acknowledged` is from the moment a frame was due to its acknowledgement, waiting for room in the window included; each
percentile is the median of those of all rounds, so that what else happens on the machine for a while counts little.
Memory is the receiver's; its slope is that of a line through all but the first fifth of the time.  Senders, receiver
and this machine's other work share its processors: `receiver_cpu` is what the receiver took of one of them.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.errors import OutputError
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.rate import demo_truth
from tests.netlab.recording import FPS, record, write

SENDERS, MINUTES, QUICK_MINUTES = 50, 10.0, 1.5
# Senders share processes, but for the one that is stopped.
_PROCESSES = 2
_STARTING_S = 6.0
# After all have begun, and after the one goes on.
_SETTLING_S = 2.0
_ROUND_S = 20.0
_PATIENCE_S = 60.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run left.

    Args:
        pairs: (N, 2) of the senders that were not stopped: when a frame was due, seconds to its acknowledgement.
        stopped: from when to when the one was stopped, each time.
        sent: frames that all senders sent.
        receiver: what the receiver told at its end.
        memory: (M, 2): seconds since the epoch, kB.
        processor: (M, 2): seconds since the epoch, processor seconds.
    """

    pairs: Float64Array
    stopped: list[tuple[float, float]]
    sent: int
    receiver: dict[str, int]
    memory: Float64Array
    processor: Float64Array


def _start(stack: ExitStack, *command: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate)
    stack.callback(process.kill)
    return process


def _last_line(process: "subprocess.Popen[str]", timeout_s: float) -> dict[str, Any]:
    told, _ = process.communicate(timeout=timeout_s)
    if process.returncode:
        raise OutputError(f"a program ended with exit code {process.returncode}; its error stands above")
    last: dict[str, Any] = json.loads(told.splitlines()[-1])
    return last


def run(senders: int, seconds: float, folder: Path, *, decode: bool) -> Seen:
    """All senders for so many seconds, one of them stopped in the second half.

    Raises:
        OutputError: a program failed.
    """
    with ExitStack() as stack:
        flags = [] if decode else ["--pass-through"]
        log = folder / "receiver"
        receiver = _start(stack, "tests.netlab.counting_receiver", "--listen", "127.0.0.1:0", "--log", str(log), *flags)
        assert receiver.stdout is not None
        peer = receiver.stdout.readline().removeprefix("listening on ").strip()
        begin_s = time.time() + _STARTING_S
        shares = [1, *(len(part) for part in np.array_split(np.arange(senders - 1), _PROCESSES))]
        logs = [folder / f"crowd-{number}.npy" for number in range(len(shares))]
        fixed = ("--peer", peer, "--recording", str(folder / "recording"), "--start-at", str(begin_s))
        crowds = [
            _start(stack, "tests.netlab.load_senders", *fixed, "--senders", str(share), "--log", str(path))
            for share, path in zip(shares, logs, strict=True)
        ]
        stopped = []
        for at_s in np.arange(begin_s + _SETTLING_S, begin_s + seconds - _ROUND_S / 2, _ROUND_S):
            stopped_s = _wait_until(at_s + _ROUND_S / 2 - _SETTLING_S)
            crowds[0].send_signal(signal.SIGSTOP)
            stopped.append((stopped_s, _wait_until(at_s + _ROUND_S - _SETTLING_S)))
            crowds[0].send_signal(signal.SIGCONT)
        _wait_until(begin_s + seconds)
        sent = sum(sum(_last_line(crowd, _PATIENCE_S)["sent"]) for crowd in crowds)
        receiver.terminate()
        told = _last_line(receiver, _PATIENCE_S)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if begin_s <= line["at"] <= begin_s + seconds]
    memory, processor = (np.array([[line["at"], line[name]] for line in lines]) for name in ("rss_kb", "cpu_s"))
    pairs = np.concatenate([np.load(path) for path in logs[1:]])
    return Seen(pairs, stopped, sent, told, memory, processor)


def _wait_until(at_s: float) -> float:
    time.sleep(max(0.0, at_s - time.time()))
    return time.time()


def figures(pairs: Float64Array, rounds: Sequence[tuple[float, float]]) -> Figures:
    """The time to acknowledgements of frames that were due in one of several times; medians of the times' percentiles.

    Args:
        pairs: (N, 2): when a frame was due, seconds to its acknowledgement.
    """
    took_s = [pairs[(pairs[:, 0] >= from_s) & (pairs[:, 0] < to_s), 1] for from_s, to_s in rounds]
    told = {
        f"acknowledged_p{share}_ms": 1e3 * float(np.median([percentile(each, share) for each in took_s]))
        for share in (50, 95, 99)
    }
    frames = float(sum(map(len, took_s)))
    return told | {"frames": frames, "frames_per_s": frames / sum(to_s - from_s for from_s, to_s in rounds)}


def slope(line: Float64Array) -> float:
    """Of a line through (N, 2) points, but for the first fifth of them."""
    rest = line[len(line) // 5 :]
    return float(np.polyfit(rest[:, 0] - rest[0, 0], rest[:, 1], 1)[0])


def judge(seen: Seen) -> dict[str, Figures]:
    """Figures with all senders and with one stopped, and what became of frames and memory."""
    ends = [float(seen.pairs[:, 0].min()), *(went_on for _, went_on in seen.stopped[:-1])]
    calm_times = [(end + _SETTLING_S, stopped) for end, (stopped, _) in zip(ends, seen.stopped, strict=True)]
    calm, stalled = figures(seen.pairs, calm_times), figures(seen.pairs, seen.stopped)
    told = seen.receiver
    whole = {
        "sent": float(seen.sent),
        "lost": float(seen.sent - told["frames"] + told["again"]),
        "again": float(told["again"] + told["missing"] + told["broken"]),
        "p99_worse_percent": 100 * (stalled["acknowledged_p99_ms"] / calm["acknowledged_p99_ms"] - 1),
        "receiver_rss_mb": float(seen.memory[-1, 1]) / 1024,
        "receiver_rss_slope_kb_per_min": 60 * slope(seen.memory),
        "receiver_cpu": slope(seen.processor),
    }
    return {"all": calm | whole, "one_stalled": stalled}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("crowded", "Measure what many senders do to each other.", 1)
    parser.add_argument("--senders", type=int, default=SENDERS, help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, help=f"(default: {MINUTES:g}, {QUICK_MINUTES:g} with --quick)")
    parser.add_argument("--pass-through", action="store_true", help="the receiver leaves the codec out")
    options = parser.parse_args(arguments)

    def work() -> None:
        seconds = 60 * (options.minutes or (QUICK_MINUTES if options.quick else MINUTES))
        people = demo_truth(LabelSpace.load(), options.seed).people
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "recording", list(record(people, int(seconds * FPS))))
            systems = judge(run(options.senders, seconds, folder, decode=not options.pass_through))
        print(f"{options.senders} senders at {FPS:g} frames/s, {seconds:g} s, {report.machine_line()}\n")
        print(report.transposed(systems))
        report.write_json(options.json, "crowded", options.seed, systems, senders=options.senders)

    return report.run("crowded", work)


if __name__ == "__main__":
    sys.exit(main())
