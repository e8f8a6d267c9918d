"""How several senders share one receiver: `python -m tests.bench.sharing`.

A receiver as it ships reconstructs recorded label streams that are sent as fast as it acknowledges them, at most 30
frames a second each, over loopback; no frame is dropped. Systems:

    one           one sender
    four          four senders
    one_stalled   four senders, one of them stopped (SIGSTOP) all the time

`fps` counts acknowledged frames of all senders; `least_share` is the frame rate of the slowest sender over the mean of
those that are not stopped. The sender processes take part of the same processors.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.errors import OutputError
from common.weights.loader import model_hash
from tests.bench import report
from tests.bench.crowded import start_module
from tests.bench.measures import percentile
from tests.bench.rate import demo_truth
from tests.netlab.recording import FPS, record, write

SENDERS = 4
SECONDS, QUICK_SECONDS = 60.0, 20.0
# Processes start, connect, and fill the receiver's caches.
_START_S, _WARM_UP_S = 8.0, 4.0
_TIMEOUT_S = 60.0

Figures = dict[str, float]


def run(senders: int, seconds: float, folder: Path, *, stalled: int = 0) -> Figures:
    """All senders for some seconds, the first `stalled` of them stopped; figures of the others.

    Raises:
        OutputError: a program failed.
    """
    out = folder / f"out-{senders}-{stalled}"
    with ExitStack() as stack:
        receiver = start_module(
            stack, "receiver", "--listen", "127.0.0.1:0", "--out", str(out), "--log-level", "warning"
        )
        assert receiver.stdout is not None
        peer = receiver.stdout.readline().removeprefix("listening on ").split()[0]
        begin_s = time.time() + _START_S
        flags = ("--peer", peer, "--recording", str(folder / "recording"), "--model", model_hash().hex())
        logs = [out / f"sender-{number}.npy" for number in range(senders)]
        processes = [
            start_module(
                stack,
                "tests.netlab.load_senders",
                *flags,
                "--senders",
                "1",
                "--start-at",
                str(begin_s),
                "--log",
                str(log),
            )
            for log in logs
        ]
        from_s = begin_s + _WARM_UP_S
        time.sleep(max(0.0, from_s - time.time()))
        for process in processes[:stalled]:
            process.send_signal(signal.SIGSTOP)
        for process in processes[stalled:]:
            process.communicate(timeout=seconds + _TIMEOUT_S)
            if process.returncode:
                raise OutputError(f"a sender ended with exit code {process.returncode}; its error is printed above")
        for process in processes[:stalled]:
            process.kill()
        receiver.terminate()
        receiver.wait(_TIMEOUT_S)
    return figures([np.load(log) for log in logs[stalled:]], from_s, begin_s + seconds, out)


def figures(pairs: Sequence[Float64Array], from_s: float, to_s: float, out: Path) -> Figures:
    """Frame rates of senders from (N, 2) arrays: when a frame was due, seconds to its acknowledgement."""
    acknowledged_s = [each.sum(axis=1) for each in pairs]
    rates = [float(((each >= from_s) & (each < to_s)).sum()) / (to_s - from_s) for each in acknowledged_s]
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text(encoding="utf-8").splitlines()]
    queue_ms = [line["stages_ms"]["queue"] for line in lines]
    return {
        "fps": sum(rates),
        "least_fps": min(rates),
        "least_share": min(rates) / (sum(rates) / len(rates)),
        "queue_p50_ms": percentile(queue_ms, 50),
        "queue_p95_ms": percentile(queue_ms, 95),
        "frames": float(len(lines)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("sharing", "Measure how several senders share one receiver.", 1)
    options = parser.parse_args(arguments)

    def work() -> None:
        seconds = QUICK_SECONDS if options.quick else SECONDS
        people = demo_truth(LabelSpace.load(), options.seed).people
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "recording", list(record(people, int(seconds * FPS), model_hash())))
            systems = {
                "one": run(1, seconds, folder),
                "four": run(SENDERS, seconds, folder),
                "one_stalled": run(SENDERS, seconds, folder, stalled=1),
            }
        for name in ("four", "one_stalled"):
            systems[name]["fps_over_one"] = systems[name]["fps"] / systems["one"]["fps"]
        print(f"{SENDERS} senders, {seconds:g} s, {report.machine_line()}\n")
        print(report.transposed(systems))
        report.write_json(options.json, "sharing", options.seed, systems, senders=SENDERS)

    return report.run("sharing", work)


if __name__ == "__main__":
    sys.exit(main())
