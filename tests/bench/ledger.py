"""Audit of complete delivery while processes are killed: `python -m tests.bench.ledger`.

Senders with complete delivery and receivers without networks run as processes, each on a volatile disk that loses
unsynced writes (`tests.netlab`).  After each kill with SIGKILL the receivers' frame records are compared with the
senders' ledgers of acknowledged frames; at the end every captured frame must be recorded once, in order and unchanged.

    one receiver     one sender; either is killed at a random time, during its start or later, and started again
    three fronts     receivers that share their sessions; four senders name all of them as `--peer`, each in another
                     order.  In each round a receiver that has senders is killed, until they go on elsewhere

    kills            of processes
    moved            sessions that went on at another receiver
    failover_ms      from the kill to the first frame that another receiver has acknowledged: median and longest
    lost             frames that were acknowledged (at the end: captured) and have no record
    duplicated       frames with more than one record
    misplaced        frames recorded after a later one of the same receiver
    wrong            frames with the record of another one

To verify that the audit finds faults, it then runs against receivers with deliberate bugs, and against fronts that
share nothing, until each fault is found.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import OutputError
from tests.bench import report
from tests.netlab.durable_receiver import BUGS
from tests.netlab.durable_sender import captured_at
from tests.netlab.programs import module_command
from tests.support.free_port import free_port

_CONTROL_KILLS = 40
FRONTS, SENDERS, _FPS = 3, 4, 25.0
# Time until a kill, in multiples of the time to start both and deliver a frame, which depends on the machine's load.
_LIFETIME_STARTS = (0.1, 2.0)
_FRONT_LIFETIME_S = (0.5, 2.5)
_DELIVERY_TIMEOUT_S = 60.0
_FAILOVER_TIMEOUT_S = 30.0
_FINAL_FRAMES = 20
# Until this long after a kill, an acknowledgement may still be on its way.
_ON_THE_WAY_S = 0.03
_POLL_S = 0.005

Record = tuple[int, float]
"""Sequence and capture time of a frame."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Sequences of frames with faults in their records; see the module."""

    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.lost or self.duplicated or self.misplaced or self.wrong)


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
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class Program:
    """A module of `tests.netlab` as a process that can be killed and started again."""

    def __init__(self, *command: str) -> None:
        self._name, self._command = command[0], module_command(*command)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it, without waiting for it."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def until_line(self, prefix: str) -> str:
        """Waits for its next line of output and returns what comes after the prefix.

        Raises:
            OutputError: it has another one, or ends.
        """
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(prefix):
            raise OutputError(f"{self._name} did not start; its error is above")
        return line.removeprefix(prefix).strip()

    def kill(self) -> None:
        """SIGKILL.

        Raises:
            OutputError: it had ended by itself; its error is above.
        """
        ended = self._process.poll() if self._process is not None else None
        self.close()
        if ended is not None:
            raise OutputError(f"{self._name} ended by itself, with exit code {ended}")

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def finish(self) -> str:
        """SIGTERM; returns the last line of its output.

        Raises:
            OutputError: it does not end in time, or with an error.
        """
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=_DELIVERY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise OutputError(f"{self._name} did not finish within {_DELIVERY_TIMEOUT_S:g} s") from None
        if process.returncode or not output:
            raise OutputError(f"{self._name} ended with exit code {process.returncode}")
        return output.splitlines()[-1]


class Receiver(Program):
    """A receiver at an address of its own.

    Args:
        flags: of `tests.netlab.durable_receiver`.
    """

    def __init__(self, out: Path, flags: Sequence[str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.out = out
        super().__init__("tests.netlab.durable_receiver", "--listen", self.address, "--out", str(out), *flags)


class Sender(Program):
    """A sender with a spool and a ledger of acknowledged frames.

    Args:
        peers: the receivers, in the order in which it names them.
    """

    def __init__(self, folder: Path, peers: Sequence[str], flags: Sequence[str]) -> None:
        folder.mkdir()
        self._ledger = folder / "ledger"
        files = ("--spool", str(folder / "spool"), "--ledger", str(self._ledger))
        super().__init__("tests.netlab.durable_sender", "--peer", ",".join(peers), *files, *flags)
        self.session = ""

    @property
    def acknowledged(self) -> list[int]:
        """Sequences that it has logged as acknowledged."""
        return [int(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    def wait_for(self, more: int) -> float:
        """Waits until so many more frames are acknowledged, or for a minute; returns the seconds waited."""
        began_s, wanted = time.monotonic(), len(self.acknowledged) + more
        while len(self.acknowledged) < wanted and time.monotonic() < began_s + _DELIVERY_TIMEOUT_S:
            time.sleep(_POLL_S)
        return time.monotonic() - began_s


@dataclass(slots=True)
class Outcome:
    """Result of several kills; `kills` counts those of receivers and senders."""

    kills: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    failovers_ms: list[float] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)

    def figures(self) -> dict[str, float]:
        times_ms = self.failovers_ms or [float("nan")]
        return {
            "receiver_kills": self.kills["receiver"],
            "sender_kills": self.kills["sender"],
            "moved": len(self.failovers_ms),
            "failover_ms_median": float(np.median(times_ms)),
            "failover_ms_longest": max(times_ms),
            "frames": self.frames,
            **{name: len(getattr(self.faults, name)) for name in ("lost", "duplicated", "misplaced", "wrong")},
        }

    def judge(self, receivers: Sequence[Receiver], promised: Mapping[str, Sequence[int]]) -> None:
        """Audits the records of all sessions, of which these frames must be recorded."""
        everywhere = [records_in(receiver.out) for receiver in receivers]
        parts = {session: [records.get(session, []) for records in everywhere] for session in promised}
        found = [audit(promised[session], *own) for session, own in parts.items()]
        names = ("lost", "duplicated", "misplaced", "wrong")
        self.faults = Faults(*([each for faults in found for each in getattr(faults, name)] for name in names))
        self.frames = sum(len(records) for own in parts.values() for records in own)


@contextmanager
def started(
    receivers: int, senders: int, receiver_flags: Sequence[str], sender_flags: Sequence[str]
) -> Iterator[tuple[list[Receiver], list[Sender]]]:
    """Running processes; each sender names all receivers, in another order."""
    with tempfile.TemporaryDirectory() as folder:
        ends = [Receiver(Path(folder) / f"receiver-{number}", receiver_flags) for number in range(receivers)]
        addresses = [end.address for end in ends]
        sources = [
            Sender(Path(folder) / f"sender-{number}", addresses[turn:] + addresses[:turn], sender_flags)
            for number in range(senders)
            for turn in (number % receivers,)
        ]
        try:
            for end in ends:
                end.start()
                end.until_line("listening")
            for source in sources:
                source.start()
                source.session = source.until_line("session ")
            yield ends, sources
        finally:
            for program in (*sources, *ends):
                program.close()


def run_pair(kills: int, seed: int | str, bug: str | None = None) -> Outcome:
    """Kills a sender and its receiver and audits, until the kills are over or a fault is found.

    Raises:
        OutputError: a process ended by itself, or the sender did not finish.
    """
    rng, outcome, began_s = random.Random(seed), Outcome(), time.monotonic()
    with started(1, 1, ("--bug", bug) if bug else (), ()) as (receivers, senders):
        (receiver,), (sender,) = receivers, senders
        sender.wait_for(1)
        start_s = time.monotonic() - began_s

        while outcome.kills.total() < kills and not outcome.faults.any:
            time.sleep(start_s * rng.uniform(*_LIFETIME_STARTS))
            name, program = rng.choice((("receiver", receiver), ("sender", sender)))
            promised = sender.acknowledged
            program.kill()
            outcome.kills[name] += 1
            outcome.judge(receivers, {sender.session: promised})
            program.start()
        _judge_end(outcome, receivers, senders)
    return outcome


def run_fronts(kills: int, seed: int, *, shared: bool = True) -> Outcome:
    """Kills receivers that have senders and audits, until the kills are over or a fault is found.

    Raises:
        OutputError: a process failed, or a sender got no acknowledgement for half a minute.
    """
    rng, outcome = random.Random(seed), Outcome()
    flags = ("--share-sessions",) if shared else ()
    with started(FRONTS, SENDERS, flags, ("--fps", str(_FPS))) as (receivers, senders):
        for sender in senders:
            sender.wait_for(_FINAL_FRAMES)
        while outcome.kills.total() < kills and not outcome.faults.any:
            time.sleep(rng.uniform(*_FRONT_LIFETIME_S))
            killed = _fail_over(rng, receivers, senders, outcome)
            outcome.judge(receivers, {sender.session: sender.acknowledged for sender in senders})
            killed.start()
            killed.until_line("listening")
        _judge_end(outcome, receivers, senders)
    return outcome


def _fail_over(
    rng: random.Random, receivers: Sequence[Receiver], senders: Sequence[Sender], outcome: Outcome
) -> Receiver:
    """Kills a receiver that has senders and waits until each of them is acknowledged elsewhere; returns it."""
    # Before the records are read: a frame is recorded first, and then acknowledged.
    last = {sender.session: sender.acknowledged[-1] for sender in senders}
    records = [records_in(receiver.out) for receiver in receivers]
    served = [
        [sender for sender in senders if (own.get(sender.session) or [(-1, 0.0)])[-1][0] >= last[sender.session]]
        for own in records
    ]
    number = rng.choice([number for number, those in enumerate(served) if those])
    receivers[number].kill()
    outcome.kills["receiver"] += 1
    killed_s = time.monotonic()
    time.sleep(_ON_THE_WAY_S)
    waiting = {sender: len(sender.acknowledged) for sender in served[number]}
    while waiting:
        for sender in [sender for sender, before in waiting.items() if len(sender.acknowledged) > before]:
            outcome.failovers_ms.append(1e3 * (time.monotonic() - killed_s))
            del waiting[sender]
        if time.monotonic() - killed_s > _FAILOVER_TIMEOUT_S:
            raise OutputError(f"{len(waiting)} senders found no other receiver within {_FAILOVER_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)
    return receivers[number]


def _judge_end(outcome: Outcome, receivers: Sequence[Receiver], senders: Sequence[Sender]) -> None:
    """Lets some more frames arrive, ends the senders in order, and audits all that they have captured."""
    if outcome.faults.any:
        return
    for sender in senders:
        sender.wait_for(_FINAL_FRAMES)
    captured = {sender.session: range(int(sender.finish().split()[1])) for sender in senders}
    outcome.judge(receivers, captured)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if records are wrong or a deliberate fault was not found."""
    parser = report.flags("ledger", __doc__, 1)
    report.add_amount(parser, "--kills", "of the pair", 200, 20)
    report.add_amount(parser, "--front-kills", "of fronts", 20, 4)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    honest = {
        "one receiver": partial(run_pair, options.kills, options.seed),
        "three fronts": partial(run_fronts, options.front_kills, options.seed),
    }
    faulty = {bug: partial(run_pair, _CONTROL_KILLS, options.seed, bug) for bug in BUGS}
    faulty["nothing shared"] = partial(run_fronts, _CONTROL_KILLS, options.seed, shared=False)
    outcomes: dict[str, Outcome] = {}
    for name, run in (honest | faulty).items():
        outcomes[name] = run()
        report.progress(f"{name}: {outcomes[name].faults}")
    report.publish(options, {name: outcome.figures() for name, outcome in outcomes.items()}, f"seed {options.seed}")
    wrong = [name for name in honest if outcomes[name].faults.any]
    missed = [name for name in faulty if not outcomes[name].faults.any]
    if wrong or missed:
        raise OutputError(f"records with faults: {wrong or 'none'}; faults that were not found: {missed or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
