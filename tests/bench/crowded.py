"""Mutual interference of many senders at one receiver: `python -m tests.bench.crowded`.

Fifty recorded streams at 30 frames a second are sent over the loopback to one receiver without reconstruction, which
decodes every packet.  No frame may be dropped.  Systems:

    all              every sender sends
    one_stalled      one of them is stopped (SIGSTOP), ten seconds of every twenty; figures of the others meanwhile

`acknowledged` is the time from when a frame was due to its acknowledgement, including the wait for the window; each
percentile is the median over all rounds, which suppresses temporary load of the machine.  Memory is the receiver's; its
slope is that of a line fitted to all but the first fifth of the time.  `receiver_cpu` is the receiver's share of one
processor, which it shares with the senders.
"""

import argparse
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
from tests.netlab.programs import module_command
from tests.netlab.recording import FPS, record, write

SENDERS = 50
# Processes that the senders share, except for the one that is stopped.
_PROCESSES = 2
_STARTING_S = 6.0
# Time ignored after the start, and after the stopped sender continues.
_SETTLING_S = 2.0
_ROUND_S = 20.0
_EXIT_TIMEOUT_S = 60.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Measurements:
    """Raw data of a run.

    Args:
        pairs: (N, 2) of the senders that were not stopped: when a frame was due, seconds to its acknowledgement.
        stopped: (begin, end) of each time that the one sender was stopped.
        sent: frames of all senders.
        receiver: the receiver's counters.
        memory: (M, 2): seconds since the epoch, kB.
        processor: (M, 2): seconds since the epoch, processor seconds.
    """

    pairs: Float64Array
    stopped: list[tuple[float, float]]
    sent: int
    receiver: dict[str, int]
    memory: Float64Array
    processor: Float64Array


def start_module(stack: ExitStack, *command: str) -> subprocess.Popen[str]:
    """Runs `python -m` with these arguments until the stack is left."""
    process = subprocess.Popen(module_command(*command), stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate)
    stack.callback(process.kill)
    return process


def start_receiver(stack: ExitStack, log: Path, *flags: str) -> tuple[subprocess.Popen[str], str]:
    """Runs `tests.netlab.counting_receiver` until the stack is left; returns its process and address."""
    receiver = start_module(
        stack, "tests.netlab.counting_receiver", "--listen", "127.0.0.1:0", "--log", str(log), *flags
    )
    assert receiver.stdout is not None
    return receiver, receiver.stdout.readline().removeprefix("listening on ").strip()


def last_line(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """The JSON object in the last line that a program prints, when it has ended.

    Raises:
        OutputError: it does not end in time, or with another exit code than 0.
    """
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise OutputError(f"a program did not end within {timeout_s:g} s") from None
    if process.returncode:
        raise OutputError(f"a program ended with exit code {process.returncode}; see its error above")
    last: dict[str, Any] = json.loads(output.splitlines()[-1])
    return last


def run(senders: int, seconds: float, folder: Path, *, decode: bool) -> Measurements:
    """Runs all senders for this time; one of them is stopped in the second half of each round.

    Raises:
        OutputError: a program failed.
    """
    with ExitStack() as stack:
        flags = [] if decode else ["--pass-through"]
        log = folder / "receiver"
        receiver, peer = start_receiver(stack, log, *flags)
        begin_s = time.time() + _STARTING_S
        shares = [1, *(len(part) for part in np.array_split(np.arange(senders - 1), _PROCESSES))]
        logs = [folder / f"senders-{number}.npy" for number in range(len(shares))]
        fixed = ("--peer", peer, "--recording", str(folder / "recording"), "--start-at", str(begin_s))
        groups = [
            start_module(stack, "tests.netlab.load_senders", *fixed, "--senders", str(share), "--log", str(path))
            for share, path in zip(shares, logs, strict=True)
        ]
        stopped = []
        for at_s in np.arange(begin_s + _SETTLING_S, begin_s + seconds - _ROUND_S / 2, _ROUND_S):
            stopped_s = _wait_until(at_s + _ROUND_S / 2 - _SETTLING_S)
            groups[0].send_signal(signal.SIGSTOP)
            stopped.append((stopped_s, _wait_until(at_s + _ROUND_S - _SETTLING_S)))
            groups[0].send_signal(signal.SIGCONT)
        _wait_until(begin_s + seconds)
        sent = sum(sum(last_line(group, _EXIT_TIMEOUT_S)["sent"]) for group in groups)
        receiver.terminate()
        counters = last_line(receiver, _EXIT_TIMEOUT_S)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if begin_s <= line["at"] <= begin_s + seconds]
    memory, processor = (np.array([[line["at"], line[name]] for line in lines]) for name in ("rss_kb", "cpu_s"))
    pairs = np.concatenate([np.load(path)[:, :2] for path in logs[1:]])
    return Measurements(pairs, stopped, sent, counters, memory, processor)


def _wait_until(at_s: float) -> float:
    time.sleep(max(0.0, at_s - time.time()))
    return time.time()


def figures(pairs: Float64Array, rounds: Sequence[tuple[float, float]]) -> Figures:
    """Percentiles of the time to acknowledgements, as medians over the rounds.

    Args:
        pairs: (N, 2): when a frame was due, seconds to its acknowledgement.
        rounds: (begin, end) of each round; frames are assigned by when they were due.
    """
    took_s = [pairs[(pairs[:, 0] >= from_s) & (pairs[:, 0] < to_s), 1] for from_s, to_s in rounds]
    percentiles = {
        f"acknowledged_p{share}_ms": 1e3 * float(np.median([percentile(times_s, share) for times_s in took_s]))
        for share in (50, 95, 99)
    }
    frames = float(sum(map(len, took_s)))
    return percentiles | {"frames": frames, "frames_per_s": frames / sum(to_s - from_s for from_s, to_s in rounds)}


def slope(line: Float64Array) -> float:
    """Slope of a line fitted to (N, 2) points, without the first fifth of them."""
    rest = line[len(line) // 5 :]
    return float(np.polyfit(rest[:, 0] - rest[0, 0], rest[:, 1], 1)[0])


def evaluate(measured: Measurements) -> dict[str, Figures]:
    """Figures with all senders and with one stopped."""
    starts = [float(measured.pairs[:, 0].min()), *(continued for _, continued in measured.stopped[:-1])]
    calm_times = [(start + _SETTLING_S, stop) for start, (stop, _) in zip(starts, measured.stopped, strict=True)]
    calm, stalled = figures(measured.pairs, calm_times), figures(measured.pairs, measured.stopped)
    counters = measured.receiver
    totals = {
        "sent": float(measured.sent),
        "lost": float(measured.sent - counters["frames"] + counters["again"]),
        "again": float(counters["again"] + counters["missing"] + counters["broken"]),
        "p99_worse_percent": 100 * (stalled["acknowledged_p99_ms"] / calm["acknowledged_p99_ms"] - 1),
        "receiver_rss_mb": float(measured.memory[-1, 1]) / 1024,
        "receiver_rss_slope_kb_per_min": 60 * slope(measured.memory),
        "receiver_cpu": slope(measured.processor),
    }
    return {"all": calm | totals, "one_stalled": stalled}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("crowded", __doc__, 1)
    parser.add_argument("--senders", type=int, default=SENDERS, help="number of senders (default: %(default)s)")
    report.add_amount(parser, "--minutes", "duration", 10.0, 1.5, float)
    parser.add_argument("--pass-through", action="store_true", help="the receiver does not decode")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    seconds = 60 * options.minutes
    people = demo_truth(LabelSpace.load(), options.seed).people
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "recording", list(record(people, int(seconds * FPS))))
        systems = evaluate(run(options.senders, seconds, folder, decode=not options.pass_through))
    report.publish(
        options, systems, f"{options.senders} senders at {FPS:g} frames/s, {seconds:g} s", senders=options.senders
    )


if __name__ == "__main__":
    sys.exit(main())
