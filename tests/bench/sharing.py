"""How several senders share one receiver: `python -m tests.bench.sharing`.

A receiver as it ships reconstructs recorded label streams that are sent as fast as it acknowledges them, at most 30
frames a second each, over loopback; no frame is dropped. Systems:

    one           one sender
    four          four senders
    one_stalled   four senders, one of them stopped (SIGSTOP) all the time

`fps` counts acknowledged frames of all senders; `least_share` is the frame rate of the slowest sender over the mean of
those that are not stopped. The sender processes take part of the same processors.

A second table is of one live sender of one person, 30 frames a second, that has an account of its own. Systems:

    alone         nobody else
    ordinary      beside one sender of the same kind of another account
    hostile       beside one sender of 32 people a frame of another account, sent as fast as they are acknowledged
    hostile_eight beside eight such senders of one other account

`fps` counts its published frames, `share` is that over its `fps` beside the ordinary sender, and `late` counts frames
that the receiver acknowledged without a mesh, because newer ones waited. `age` is from capture to the written mesh.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.errors import OutputError
from common.frames import PersonLabels
from common.labels import concatenate
from common.weights.manifest import model_hash
from receiver.link.auth.tokens import add_token
from tests.bench import report
from tests.bench.crowded import last_line, start_module
from tests.bench.measures import percentile
from tests.bench.rate import demo_truth
from tests.netlab.recording import FPS, record, write

SENDERS = 4
SECONDS, QUICK_SECONDS = 60.0, 20.0
HOSTILE_SECONDS, QUICK_HOSTILE_SECONDS = 40.0, 12.0
HOSTILE_PEOPLE = 32
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


@dataclass(frozen=True, slots=True)
class Others:
    """The senders of the other account.

    Args:
        senders: how many.
        people: in each of their frames.
        live: newer frames replace those that wait to be sent.
    """

    senders: int
    people: int
    live: bool


OTHERS: dict[str, Others | None] = {
    "alone": None,
    "ordinary": Others(1, 1, live=True),
    "hostile": Others(1, HOSTILE_PEOPLE, live=False),
    "hostile_eight": Others(8, HOSTILE_PEOPLE, live=False),
}


def beside(others: Others | None, seconds: float, folder: Path, out: Path) -> Figures:
    """Figures of a live sender of one person with an account of its own, beside the senders of another account.

    Raises:
        OutputError: a program failed.
    """
    with ExitStack() as stack:
        receiver = start_module(
            stack,
            *("receiver", "--listen", "127.0.0.1:0", "--out", str(out), "--log-level", "warning"),
            *("--tokens", str(folder / "tokens.toml")),
        )
        assert receiver.stdout is not None
        peer = receiver.stdout.readline().removeprefix("listening on ").split()[0]
        begin_s = time.time() + _START_S

        def start(source: str, *flags: str) -> Popen[str]:
            return start_module(
                stack,
                *("tests.netlab.label_senders", "--peer", peer, "--labels", str(folder / "labels.npy")),
                *("--model", model_hash().hex(), "--token-file", str(folder / source), "--source", source),
                *("--start-at", str(begin_s), "--seconds", str(seconds), *flags),
            )

        measured = start("measured", "--live")
        if others is not None:
            count, size = str(others.senders), str(others.people)
            start("others", "--senders", count, "--people", size, *(("--live",) if others.live else ()))
        counts = last_line(measured, _START_S + seconds + _TIMEOUT_S)
        receiver.kill()
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text(encoding="utf-8").splitlines()]
    return live_figures(lines, begin_s + _WARM_UP_S, begin_s + seconds, counts["acknowledged"][0])


def live_figures(lines: Sequence[dict[str, Any]], from_s: float, to_s: float, acknowledged: int) -> Figures:
    """Figures of the sender whose source is `measured` from the lines of all sessions."""
    own = [line for line in lines if line["source"] == "measured"]
    published_s = [line["captured_at"] + line["age_ms"] / 1e3 for line in own]
    ages_ms = [line["age_ms"] for line, at_s in zip(own, published_s, strict=True) if from_s <= at_s < to_s]
    return {
        "fps": len(ages_ms) / (to_s - from_s),
        "age_p50_ms": percentile(ages_ms, 50),
        "age_p95_ms": percentile(ages_ms, 95),
        "late_frames": max(acknowledged - len(own), 0.0),
        "people_of_others_per_s": sum(
            len(line["people"])
            for line in lines
            if line["source"] == "others" and from_s <= line["captured_at"] + line["age_ms"] / 1e3 < to_s
        )
        / (to_s - from_s),
    }


def measure_beside(seconds: float, folder: Path, people: Sequence[PersonLabels]) -> dict[str, Figures]:
    """The systems of the second table."""
    np.save(folder / "labels.npy", np.stack([concatenate(person.labels) for person in people]))
    for name in ("measured", "others"):
        (folder / name).write_text(add_token(folder / "tokens.toml", name, None, datetime.now(UTC)))
    systems = {}
    for name, others in OTHERS.items():
        report.progress(f"beside: {name}")
        systems[name] = beside(others, seconds, folder, folder / f"out-{name}")
    for each in systems.values():
        each["share"] = each["fps"] / systems["ordinary"]["fps"]
    return systems


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("sharing", "Measure how several senders share one receiver.", 1)
    options = parser.parse_args(arguments)

    def work() -> None:
        seconds = QUICK_SECONDS if options.quick else SECONDS
        hostile_seconds = QUICK_HOSTILE_SECONDS if options.quick else HOSTILE_SECONDS
        people = demo_truth(LabelSpace.load(), options.seed).people
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "recording", list(record(people, int(seconds * FPS), model_hash())))
            shares = measure_beside(hostile_seconds, folder, people)
            systems = {
                "one": run(1, seconds, folder),
                "four": run(SENDERS, seconds, folder),
                "one_stalled": run(SENDERS, seconds, folder, stalled=1),
            }
        for name in ("four", "one_stalled"):
            systems[name]["fps_over_one"] = systems[name]["fps"] / systems["one"]["fps"]
        print(f"{SENDERS} senders, {seconds:g} s, {report.machine_line()}\n")
        print(report.transposed(systems))
        print(f"\nOne live sender beside those of another account, {hostile_seconds:g} s\n")
        print(report.transposed(shares))
        systems |= shares
        report.write_json(options.json, "sharing", options.seed, systems, senders=SENDERS)

    return report.run("sharing", work)


if __name__ == "__main__":
    sys.exit(main())
