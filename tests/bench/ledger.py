"""Is anything acknowledged ever lost or written twice?  `python -m tests.bench.ledger`.

A sender and a receiver in complete mode, each on a disk that forgets what was not synced (`tests.netlab`).  Round by
round a random one of them is killed with SIGKILL at a random time, while it starts as well as while it runs, and
started again.  After each round the receiver's books are held against the ledger of what the sender saw acknowledged;
at the end every frame must stand in them once, in order, as it was made.

To see that this would find a fault, it then runs twice against a receiver that has one, until it is found.
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
# A life's length, in times that it takes both to start and deliver a frame; that is longer on a busy machine.
_LIFE_STARTS = (0.1, 2.0)
_PATIENCE_S = 60.0
_MORE_FRAMES = 20


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the books.

    Args:
        lost: sequences that were acknowledged, or at the end made, and have no line.
        duplicated: sequences with more than one line.
        misplaced: sequences whose line stands before that of an earlier frame.
        wrong: sequences whose line tells of another frame.
    """

    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.lost or self.duplicated or self.misplaced or self.wrong)


def audit(promised: Sequence[int], lines: Sequence[tuple[int, float]]) -> Faults:
    """Holds the books against what was promised.

    Args:
        promised: sequences that must stand there.
        lines: sequence and time of capture of each line, in their order.
    """
    counts = Counter(sequence for sequence, _ in lines)
    return Faults(
        lost=sorted(set(promised) - counts.keys()),
        duplicated=sorted(sequence for sequence, count in counts.items() if count > 1),
        misplaced=[after for (before, _), (after, _) in pairwise(lines) if after < before],
        wrong=[sequence for sequence, time_s in lines if abs(time_s - captured_at(sequence)) > 0.002],
    )


def read_books(out: Path) -> list[tuple[int, float]]:
    """The lines of a receiver's directory; one that a kill has torn is none."""
    path = out / "frames.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    told = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [(line["seq"], line["captured_at"]) for line in told]


class Pair:
    """Both ends as processes, in a directory of their own.

    Args:
        place: holds spool, books and ledger.
        bug: of the receiver, if it shall have one.
    """

    def __init__(self, place: Path, bug: str | None) -> None:
        self.out, self._ledger = place / "out", place / "ledger"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        keeper = ["tests.netlab.durable_receiver", "--listen", address, "--out", str(self.out)]
        clerk = ["tests.netlab.durable_sender", "--peer", address]
        self._commands = {
            "receiver": keeper + (["--bug", bug] if bug else []),
            "sender": [*clerk, "--spool", str(place / "spool"), "--ledger", str(self._ledger)],
        }
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, side: str) -> None:
        """Begins one of them, and does not wait for it."""
        command = [sys.executable, "-m", *self._commands[side]]
        self._running[side] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self, side: str) -> None:
        """SIGKILL.

        Raises:
            OutputError: it had ended by itself; why stands above.
        """
        process = self._running.pop(side)
        ended = process.poll()
        process.kill()
        process.communicate()
        if ended is not None:
            raise OutputError(f"the {side} ended by itself, with exit code {ended}")

    def deliver(self, frames: int) -> float:
        """Waits until so many more are acknowledged, but no longer than is patient; returns seconds."""
        began_s, wanted = time.monotonic(), len(self.acknowledged) + frames
        while len(self.acknowledged) < wanted and time.monotonic() < began_s + _PATIENCE_S:
            time.sleep(0.05)
        return time.monotonic() - began_s

    def finish(self) -> int:
        """Lets the sender deliver some more and what it has, and returns how many frames it has made.

        Raises:
            OutputError: it could not.
        """
        sender = self._running["sender"]
        self.deliver(_MORE_FRAMES)
        sender.send_signal(signal.SIGTERM)
        try:
            told, _ = sender.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise OutputError(f"the sender did not finish within {_PATIENCE_S:g} s") from None
        if sender.returncode or not told.startswith("delivered "):
            raise OutputError(f"the sender ended with exit code {sender.returncode}")
        return int(told.split()[1])

    def close(self) -> None:
        """Ends whatever runs."""
        for process in self._running.values():
            process.kill()
            process.communicate()

    @property
    def acknowledged(self) -> list[int]:
        """What the sender has seen acknowledged."""
        return [int(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []


@dataclass(slots=True)
class Outcome:
    """What some rounds came to."""

    rounds: int = 0
    receiver_kills: int = 0
    frames: int = 0
    faults: Faults = field(default_factory=Faults)

    def figures(self) -> dict[str, float]:
        """For the table."""
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


def play(rounds: int, seed: int, bug: str | None = None) -> Outcome:
    """Kills and looks, so many times or until there is a fault.

    Raises:
        OutputError: one of them ended by itself, or did not finish.
    """
    chance, outcome = random.Random(seed), Outcome()
    with tempfile.TemporaryDirectory() as place:
        pair = Pair(Path(place), bug)
        try:
            for side in ("receiver", "sender"):
                pair.start(side)
            start_s = pair.deliver(1)
            while outcome.rounds < rounds and not outcome.faults.any:
                time.sleep(start_s * chance.uniform(*_LIFE_STARTS))
                side = chance.choice(("receiver", "sender"))
                promised = pair.acknowledged
                pair.kill(side)
                outcome.rounds += 1
                outcome.receiver_kills += side == "receiver"
                outcome.faults = audit(promised, read_books(pair.out))
                pair.start(side)
            if not outcome.faults.any:
                made = pair.finish()
                outcome.faults = audit([*pair.acknowledged, *range(made)], read_books(pair.out))
            outcome.frames = len(read_books(pair.out))
        finally:
            pair.close()
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 1 if the books are wrong or a fault was not found."""
    parser = report.flags("ledger", "Kill either side at random times and audit the receiver's books.", 1)
    parser.add_argument("--rounds", type=int, help=f"(default: {ROUNDS}, {QUICK_ROUNDS} with --quick)")
    options = parser.parse_args(arguments)
    return report.run("ledger", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    outcomes = {"Bodywire": play(rounds, options.seed)}
    report.tell(f"Bodywire: {outcomes['Bodywire'].faults}")
    for bug in BUGS:
        outcomes[bug] = play(_BUG_ROUNDS, options.seed, bug)
        report.tell(f"{bug}: found in round {outcomes[bug].rounds}")
    systems = {name: outcome.figures() for name, outcome in outcomes.items()}
    print(f"{rounds} kills, {report.machine_line()}\n")
    print(report.table(systems))
    report.write_json(options.json, "ledger", options.seed, systems)
    if outcomes["Bodywire"].faults.any:
        raise OutputError(f"the books are wrong: {outcomes['Bodywire'].faults}")
    missed = [bug for bug in BUGS if not outcomes[bug].faults.any]
    if missed:
        raise OutputError(f"the audit did not find {' and '.join(missed)}")


if __name__ == "__main__":
    sys.exit(main())
