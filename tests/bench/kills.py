"""Complete delivery while processes are killed: `python -m tests.bench.kills`.

Senders with complete delivery and receivers without networks run on volatile disks that lose unsynced writes
(`tests.netlab`).  After each kill with SIGKILL the receivers' frame records are compared with the senders' ledgers of
acknowledged frames; at the end every captured frame must be recorded once, in order and unchanged.

    pair      one sender and one receiver, either of which is killed
    fronts    three receivers that share the sessions of four senders; each sender names all of them, in another order

A frame is `lost` if it was acknowledged, or captured, and is not recorded, `misplaced` behind a later one, and `wrong`
with the record of another.  The exit code is 1 if there is a fault.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import BodywireError, OutputError
from tests.bench import report
from tests.netlab.durable_sender import captured_at
from tests.netlab.watched import Watched
from tests.support.free_port import free_port

FAULTS = ("lost", "duplicated", "misplaced", "wrong")
_LIFETIME_S = (0.1, 2.5)
_TIMEOUT_S = 60.0
_FINAL_FRAMES = 20
# Until this long after a kill, an acknowledgement may still be on its way.
_ON_THE_WAY_S = 0.03
_POLL_S = 0.005
_FRONTS, _SENDERS = 3, 4

Record = tuple[int, float]
"""Sequence and capture time of a frame."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Sequences of frames with faults in their records.

    Args:
        lost: promised, and without a record.
        duplicated: with more than one record.
        misplaced: recorded after a later one of the same receiver.
        wrong: with the record of another frame.
    """

    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return any(self.counts().values())

    def counts(self) -> dict[str, float]:
        return {name: float(len(getattr(self, name))) for name in FAULTS}


def audit(promised: Sequence[int], *receivers: Sequence[Record]) -> Faults:
    """Compares the records of a session, of each receiver in order, with the sequences that must be recorded."""
    together = [record for records in receivers for record in records]
    counts = Counter(sequence for sequence, _ in together)
    return Faults(
        lost=sorted(set(promised) - counts.keys()),
        duplicated=sorted(sequence for sequence, count in counts.items() if count > 1),
        misplaced=[after for records in receivers for (before, _), (after, _) in pairwise(records) if after < before],
        wrong=[sequence for sequence, time_s in together if abs(time_s - captured_at(sequence)) > 0.002],
    )


def records_in(out: Path) -> dict[str, list[Record]]:
    """Session → its frame records in a receiver's directory, in order; an incomplete last line is ignored."""
    names = {row["session"]: row["id"] for row in _rows(out / "sessions.jsonl")}
    found: dict[str, list[Record]] = {}
    for row in _rows(out / "frames.jsonl"):
        found.setdefault(names[row["session"]], []).append((row["seq"], row["captured_at"]))
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


class Program:
    """A program of `tests.netlab` that can be killed and started again.

    Args:
        ready: how the line begins that says that it is; `answer` is the rest of it.
    """

    def __init__(self, folder: Path, ready: str, *command: str) -> None:
        self._folder, self._ready, self._command = folder, ready, command
        self.name, self.answer = type(self).__name__.lower(), ""

    def start(self) -> None:
        self.process = Watched(self._folder.name, self._command, self._folder.parent)
        self.answer = self.process.until_output(self._ready, _TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL.

        Raises:
            OutputError: it had ended by itself.
        """
        ended = self.process.exit_code
        self.process.kill()
        if ended is not None:
            raise OutputError(f"a {self.name} ended with exit code {ended}: {self.process.errors[-500:]}")


class Receiver(Program):
    """A receiver at an address of its own; `flags` are those of `tests.netlab.durable_receiver`."""

    def __init__(self, out: Path, flags: Sequence[str]) -> None:
        self.address, self.out = f"127.0.0.1:{free_port()}", out
        command = ("tests.netlab.durable_receiver", "--listen", self.address, "--out", str(out), *flags)
        super().__init__(out, "listening on ", *command)


class Sender(Program):
    """A sender with a spool and a ledger of acknowledged frames, which names receivers in an order."""

    def __init__(self, folder: Path, peers: Sequence[str]) -> None:
        folder.mkdir()
        self._ledger = folder / "ledger"
        files = ("--spool", str(folder / "spool"), "--ledger", str(self._ledger), "--fps", "25")
        super().__init__(folder, "session ", "tests.netlab.durable_sender", "--peer", ",".join(peers), *files)

    @property
    def acknowledged(self) -> list[int]:
        """Sequences that it has logged as acknowledged."""
        return [int(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    def wait_for(self, more: int) -> float:
        """Waits until so many more frames are acknowledged; returns the seconds waited.

        Raises:
            OutputError: they are not, within a minute.
        """
        began_s, wanted = time.monotonic(), len(self.acknowledged) + more
        while len(self.acknowledged) < wanted:
            if time.monotonic() > began_s + _TIMEOUT_S:
                raise OutputError(f"a sender got no acknowledgement for {_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)
        return time.monotonic() - began_s

    def finish(self) -> int:
        """SIGTERM; returns how many frames it has captured and delivered.

        Raises:
            OutputError: it does not end in time, or with an error.
        """
        self.process.signal(signal.SIGTERM)
        return int(self.process.until_output("delivered ", _TIMEOUT_S).split()[0])


@dataclass(slots=True)
class Kills:
    """Result of several kills.

    Args:
        kills: by kind of process.
        failovers_ms: from the kill of a front until each sender was acknowledged again.
    """

    kills: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    failovers_ms: list[float] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)

    def figures(self) -> dict[str, float]:
        times_ms = self.failovers_ms or [float("nan")]
        return {
            **{f"{name}_kills": float(count) for name, count in sorted(self.kills.items())},
            "frames": float(self.frames),
            "failover_ms_median": float(np.median(times_ms)),
            "failover_ms_longest": max(times_ms),
            **self.faults.counts(),
        }

    def judge(self, receivers: Sequence[Receiver], promised: Mapping[str, Sequence[int]]) -> None:
        """Audits the records of all sessions, of which these frames must be recorded."""
        everywhere = [records_in(receiver.out) for receiver in receivers]
        parts = {session: [records.get(session, []) for records in everywhere] for session in promised}
        found = [audit(promised[session], *own) for session, own in parts.items()]
        self.faults = Faults(*([each for faults in found for each in getattr(faults, name)] for name in FAULTS))
        self.frames = sum(len(records) for own in parts.values() for records in own)


@contextmanager
def started(receivers: int, senders: int, flags: Sequence[str]) -> Iterator[tuple[list[Receiver], list[Sender]]]:
    """Running processes."""
    with tempfile.TemporaryDirectory() as folder:
        ends = [Receiver(Path(folder) / f"receiver-{number}", flags) for number in range(receivers)]
        peers = [end.address for end in ends]
        turns = [number % receivers for number in range(senders)]
        sources = [
            Sender(Path(folder) / f"sender-{number}", peers[turn:] + peers[:turn]) for number, turn in enumerate(turns)
        ]
        running: list[Program] = []
        try:
            for program in (*ends, *sources):
                program.start()
                running.append(program)
            yield ends, sources
        finally:
            for program in running:
                program.process.kill()


def run(kills: int, seed: str, receivers: int = 1, senders: int = 1, flags: Sequence[str] = ()) -> Kills:
    """Kills either side, of several receivers one of these, and audits, until the kills are over or a fault is found.

    Raises:
        OutputError: a process ended by itself, or a sender did not go on or finish.
    """
    rng, outcome = random.Random(seed), Kills()
    with started(receivers, senders, flags) as (ends, sources):
        for source in sources:
            source.wait_for(1)
        while outcome.kills.total() < kills and not outcome.faults.any:
            time.sleep(rng.uniform(*_LIFETIME_S))
            promised = {source.answer: source.acknowledged for source in sources}
            killed = rng.choice(ends if len(ends) > 1 else [*ends, *sources])
            killed.kill()
            outcome.kills[killed.name] += 1
            if len(ends) > 1:
                time.sleep(_ON_THE_WAY_S)
                outcome.failovers_ms += [1e3 * source.wait_for(1) for source in sources]
            outcome.judge(ends, promised)
            killed.start()
        if not outcome.faults.any:
            for source in sources:
                source.wait_for(_FINAL_FRAMES)
            outcome.judge(ends, {source.answer: range(source.finish()) for source in sources})
    return outcome


class FaultFound(BodywireError):
    """A frame was lost, repeated, misplaced or wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("kills", __doc__, 1)
    report.add_amount(parser, "--kills", "of the pair, four times as many as of the fronts", 40, 4, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    seed = str(options.seed)
    runs = {
        "pair": run(options.kills, seed),
        "fronts": run(max(options.kills // 4, 1), seed, _FRONTS, _SENDERS, ["--share-sessions"]),
    }
    report.publish(options, {name: outcome.figures() for name, outcome in runs.items()}, f"seed {seed}")
    if faults := [f"{name}: {outcome.faults}" for name, outcome in runs.items() if outcome.faults.any]:
        raise FaultFound("; ".join(faults))


if __name__ == "__main__":
    sys.exit(main())
