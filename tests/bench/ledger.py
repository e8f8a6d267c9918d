"""Audit of complete delivery under random kills: `python -m tests.bench.ledger`.

A sender and a receiver run with complete delivery, each on a volatile disk that loses unsynced writes (`tests.netlab`).
In each round one of them, chosen at random, is killed with SIGKILL at a random time, during its start or later, and
restarted.  After each round the receiver's frame records are compared with the sender's ledger of acknowledged frames;
at the end every frame must be recorded once, in order and unchanged.

To verify that the audit finds faults, it then runs against two receivers with deliberate bugs, until each is found.
"""

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from common.errors import OutputError
from tests.bench import report
from tests.netlab.durable_receiver import BUGS
from tests.netlab.durable_sender import captured_at

ROUNDS, QUICK_ROUNDS = 200, 20
_BUG_ROUNDS = 40
# Time until a kill, in multiples of the time to start both and deliver a frame, which depends on the machine's load.
_LIFETIME_STARTS = (0.1, 2.0)
_DELIVERY_TIMEOUT_S = 60.0
_FINAL_FRAMES = 20


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults in the frame records.

    Args:
        lost: sequences that were acknowledged (at the end: captured) and have no record.
        duplicated: sequences with more than one record.
        misplaced: sequences recorded after a later frame.
        wrong: sequences with the record of another frame.
    """

    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether there is any fault."""
        return bool(self.lost or self.duplicated or self.misplaced or self.wrong)


def audit(promised: Sequence[int], records: Sequence[tuple[int, float]]) -> Faults:
    """Compares the records with the sequences that must be recorded.

    Args:
        promised: sequences that must be recorded.
        records: sequence and capture time of each record, in order.
    """
    counts = Counter(sequence for sequence, _ in records)
    return Faults(
        lost=sorted(set(promised) - counts.keys()),
        duplicated=sorted(sequence for sequence, count in counts.items() if count > 1),
        misplaced=[after for (before, _), (after, _) in pairwise(records) if after < before],
        wrong=[sequence for sequence, time_s in records if abs(time_s - captured_at(sequence)) > 0.002],
    )


def read_records(out: Path) -> list[tuple[int, float]]:
    """The frame records in a receiver's directory; an incomplete last line is ignored."""
    path = out / "frames.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [(record["seq"], record["captured_at"]) for record in records]


class Pair:
    """Sender and receiver as processes.

    Args:
        folder: for spool, records and ledger.
        bug: deliberate bug of the receiver, if any.
    """

    def __init__(self, folder: Path, bug: str | None) -> None:
        self.out, self._ledger = folder / "out", folder / "ledger"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        receiver = ["tests.netlab.durable_receiver", "--listen", address, "--out", str(self.out)]
        sender = ["tests.netlab.durable_sender", "--peer", address]
        self._commands = {
            "receiver": receiver + (["--bug", bug] if bug else []),
            "sender": [*sender, "--spool", str(folder / "spool"), "--ledger", str(self._ledger)],
        }
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, side: str) -> None:
        """Starts one of the processes, without waiting for it."""
        command = [sys.executable, "-m", *self._commands[side]]
        self._running[side] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self, side: str) -> None:
        """Kills one of the processes with SIGKILL.

        Raises:
            OutputError: it had ended before; its error is printed above.
        """
        process = self._running.pop(side)
        ended = process.poll()
        process.kill()
        process.communicate()
        if ended is not None:
            raise OutputError(f"the {side} ended by itself, with exit code {ended}")

    def deliver(self, frames: int) -> float:
        """Waits until this many more frames are acknowledged, or for a minute; returns the seconds waited."""
        started_s, wanted = time.monotonic(), len(self.acknowledged) + frames
        while len(self.acknowledged) < wanted and time.monotonic() < started_s + _DELIVERY_TIMEOUT_S:
            time.sleep(0.05)
        return time.monotonic() - started_s

    def finish(self) -> int:
        """Waits for some more frames, stops the sender, and returns how many frames it has captured.

        Raises:
            OutputError: the sender failed.
        """
        sender = self._running["sender"]
        self.deliver(_FINAL_FRAMES)
        sender.send_signal(signal.SIGTERM)
        try:
            output, _ = sender.communicate(timeout=_DELIVERY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise OutputError(f"the sender did not finish within {_DELIVERY_TIMEOUT_S:g} s") from None
        last = output.splitlines()[-1] if output else ""
        if sender.returncode or not last.startswith("delivered "):
            raise OutputError(f"the sender ended with exit code {sender.returncode}")
        return int(last.split()[1])

    def close(self) -> None:
        """Kills the running processes."""
        for process in self._running.values():
            process.kill()
            process.communicate()

    @property
    def acknowledged(self) -> list[int]:
        """Sequences that the sender has logged as acknowledged."""
        return [int(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []


@dataclass(slots=True)
class Outcome:
    """Result of several rounds."""

    rounds: int = 0
    receiver_kills: int = 0
    frames: int = 0
    faults: Faults = field(default_factory=Faults)

    def figures(self) -> dict[str, float]:
        """The row of the table."""
        return {
            "rounds": self.rounds,
            "receiver_kills": self.receiver_kills,
            "sender_kills": self.rounds - self.receiver_kills,
            "frames": self.frames,
            "lost": len(self.faults.lost),
            "duplicated": len(self.faults.duplicated),
            "misplaced": len(self.faults.misplaced),
            "wrong": len(self.faults.wrong),
        }


def run(rounds: int, seed: int, bug: str | None = None) -> Outcome:
    """Kills and audits, until the rounds are over or a fault is found.

    Raises:
        OutputError: a process ended by itself, or the sender did not finish.
    """
    rng, outcome = random.Random(seed), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), bug)
        try:
            for side in ("receiver", "sender"):
                pair.start(side)
            start_s = pair.deliver(1)
            while outcome.rounds < rounds and not outcome.faults.any:
                time.sleep(start_s * rng.uniform(*_LIFETIME_STARTS))
                side = rng.choice(("receiver", "sender"))
                promised = pair.acknowledged
                pair.kill(side)
                outcome.rounds += 1
                outcome.receiver_kills += side == "receiver"
                outcome.faults = audit(promised, read_records(pair.out))
                pair.start(side)
            if not outcome.faults.any:
                captured = pair.finish()
                outcome.faults = audit([*pair.acknowledged, *range(captured)], read_records(pair.out))
            outcome.frames = len(read_records(pair.out))
        finally:
            pair.close()
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if the records are wrong or a deliberate bug was not found."""
    parser = report.flags("ledger", __doc__, 1)
    parser.add_argument("--rounds", type=int, help=f"number of kills (default: {ROUNDS}, {QUICK_ROUNDS} with --quick)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    outcomes = {"Bodywire": run(rounds, options.seed)}
    report.progress(f"Bodywire: {outcomes['Bodywire'].faults}")
    for bug in BUGS:
        outcomes[bug] = run(_BUG_ROUNDS, options.seed, bug)
        report.progress(f"{bug}: found in round {outcomes[bug].rounds}")
    systems = {name: outcome.figures() for name, outcome in outcomes.items()}
    report.publish(options, systems, f"{rounds} kills")
    if outcomes["Bodywire"].faults.any:
        raise OutputError(f"the frame records are wrong: {outcomes['Bodywire'].faults}")
    missed = [bug for bug in BUGS if not outcomes[bug].faults.any]
    if missed:
        raise OutputError(f"the audit did not find {' and '.join(missed)}")


if __name__ == "__main__":
    sys.exit(main())
