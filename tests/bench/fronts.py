"""Fronts killed at random times: `python -m tests.bench.fronts`.

Three receivers share their sessions; four senders with complete delivery name all of them as `--peer`, each in another
order.  In each round a receiver that has senders, chosen at random, is killed with SIGKILL and started again.  Each
process is on a volatile disk that loses unsynced writes (`tests.netlab`).  The networks are left out.

    moved          sessions that went on at another receiver
    failover_ms    from the kill to the first frame that another receiver has acknowledged: median and longest
    lost           frames that were acknowledged (at the end: captured) and have no record at any receiver
    duplicated     frames with more than one record
    misplaced      frames recorded after a later one of the same receiver
    wrong          frames with the record of another one

To verify that the audit finds faults, it then runs against receivers that share nothing, until it finds one.
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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import OutputError
from tests.bench import report
from tests.bench.ledger import Faults, audit

KILLS, QUICK_KILLS = 20, 4
_CONTROL_KILLS = 20
FRONTS, SENDERS = 3, 4
_FPS = 25.0
_LIFETIME_S = (0.5, 2.5)
_START_TIMEOUT_S = 60.0
_FAILOVER_TIMEOUT_S = 30.0
_FINAL_FRAMES = 20
# Until this long after a kill, an acknowledgement may still be on its way.
_ON_THE_WAY_S = 0.03
_POLL_S = 0.005


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Front:
    """A receiver process.

    Args:
        out: its output directory.
        shared: whether it shares its sessions.
    """

    def __init__(self, out: Path, shared: bool) -> None:
        self.out, self.address = out, _free_address()
        self._command = [sys.executable, "-m", "tests.netlab.durable_receiver", "--listen", self.address]
        self._command += ["--out", str(out), *(["--share-sessions"] if shared else [])]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts the process and waits until it listens.

        Raises:
            OutputError: it ended instead.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if not self._process.stdout.readline().startswith("listening"):
            raise OutputError(f"the receiver at {self.address} did not start; its error is above")

    def kill(self) -> None:
        """Kills the process with SIGKILL; safe to call without one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def records(self) -> dict[str, list[tuple[int, float]]]:
        """Session → sequence and capture time of its records here, in order; an incomplete last line is ignored."""
        names = {row["session"]: row["id"] for row in _rows(self.out / "sessions.jsonl")}
        found: dict[str, list[tuple[int, float]]] = {}
        for row in _rows(self.out / "frames.jsonl"):
            found.setdefault(names[row["session"]], []).append((row["seq"], row["captured_at"]))
        return found


class Sender:
    """A sender process.

    Args:
        folder: for its spool and ledger.
        peers: the receivers, in the order in which it names them.
    """

    def __init__(self, folder: Path, peers: Sequence[str]) -> None:
        folder.mkdir()
        self._ledger = folder / "ledger"
        command = [sys.executable, "-m", "tests.netlab.durable_sender", "--peer", ",".join(peers), "--fps", str(_FPS)]
        command += ["--spool", str(folder / "spool"), "--ledger", str(self._ledger)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.session = self._process.stdout.readline().removeprefix("session ").strip()

    @property
    def acknowledged(self) -> list[int]:
        """Sequences that it has logged as acknowledged."""
        return [int(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    def wait_for(self, frames: int, timeout_s: float) -> None:
        """Waits until so many frames are acknowledged.

        Raises:
            OutputError: they are not within this time.
        """
        limit_s = time.monotonic() + timeout_s
        while len(self.acknowledged) < frames:
            if time.monotonic() > limit_s:
                raise OutputError(f"a sender got no acknowledgement within {timeout_s:g} s")
            time.sleep(_POLL_S)

    def finish(self) -> int:
        """Stops it and returns how many frames it has captured.

        Raises:
            OutputError: it failed.
        """
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=_START_TIMEOUT_S)
        if self._process.returncode:
            raise OutputError(f"a sender ended with exit code {self._process.returncode}")
        return int(output.split()[1])

    def kill(self) -> None:
        """Kills it; safe to call if it has ended."""
        self._process.kill()
        self._process.wait()


def _rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@dataclass(slots=True)
class Outcome:
    """Result of several kills."""

    kills: int = 0
    frames: int = 0
    failovers_ms: list[float] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)

    def figures(self) -> dict[str, float]:
        """The row of the table."""
        times_ms = self.failovers_ms or [float("nan")]
        return {
            "kills": self.kills,
            "moved": len(self.failovers_ms),
            "frames": self.frames,
            "failover_ms_median": float(np.median(times_ms)),
            "failover_ms_longest": max(times_ms),
            "lost": len(self.faults.lost),
            "duplicated": len(self.faults.duplicated),
            "misplaced": len(self.faults.misplaced),
            "wrong": len(self.faults.wrong),
        }


def audited(fronts: Sequence[Front], promised: dict[str, Sequence[int]]) -> tuple[Faults, int]:
    """Faults of all sessions, and the number of their records; `promised` are frames that must be recorded."""
    everywhere = [front.records() for front in fronts]
    faults, frames = Faults(), 0
    for session, sequences in promised.items():
        parts = [records.get(session, []) for records in everywhere]
        together = audit(sequences, sorted(record for part in parts for record in part))
        frames += sum(map(len, parts))
        faults.lost.extend(together.lost)
        faults.duplicated.extend(together.duplicated)
        faults.wrong.extend(together.wrong)
        for part in parts:
            faults.misplaced.extend(audit([], part).misplaced)
    return faults, frames


def run(kills: int, seed: int, *, shared: bool = True) -> Outcome:
    """Kills and audits, until the rounds are over or a fault is found.

    Raises:
        OutputError: a process failed, or a sender got no acknowledgement for half a minute.
    """
    rng, outcome = random.Random(seed), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        fronts = [Front(Path(folder) / name, shared) for name in "abcdefgh"[:FRONTS]]
        senders: list[Sender] = []
        try:
            for front in fronts:
                front.start()
            addresses = [front.address for front in fronts]
            for number in range(SENDERS):
                turn = number % FRONTS
                senders.append(Sender(Path(folder) / f"sender-{number}", addresses[turn:] + addresses[:turn]))
            for sender in senders:
                sender.wait_for(_FINAL_FRAMES, _START_TIMEOUT_S)
            while outcome.kills < kills and not outcome.faults.any:
                time.sleep(rng.uniform(*_LIFETIME_S))
                _kill_one(rng, fronts, senders, outcome)
                outcome.faults, outcome.frames = audited(fronts, {each.session: each.acknowledged for each in senders})
            if not outcome.faults.any:
                captured = {sender.session: range(sender.finish()) for sender in senders}
                outcome.faults, outcome.frames = audited(fronts, dict(captured))
        finally:
            for sender in senders:
                sender.kill()
            for front in fronts:
                front.kill()
    return outcome


def _kill_one(rng: random.Random, fronts: Sequence[Front], senders: Sequence[Sender], outcome: Outcome) -> None:
    """Kills a receiver that has senders, waits until each of them is acknowledged elsewhere, and starts it again."""
    # Before the records are read: a frame is recorded first, and then acknowledged.
    last = {sender.session: sender.acknowledged[-1] for sender in senders}
    records = [front.records() for front in fronts]
    served = [
        [sender for sender in senders if (own.get(sender.session) or [(-1, 0.0)])[-1][0] >= last[sender.session]]
        for own in records
    ]
    number = rng.choice([number for number, those in enumerate(served) if those])
    fronts[number].kill()
    killed_s = time.monotonic()
    time.sleep(_ON_THE_WAY_S)
    before = {sender.session: len(sender.acknowledged) for sender in served[number]}
    waiting = list(served[number])
    while waiting:
        for sender in list(waiting):
            if len(sender.acknowledged) > before[sender.session]:
                outcome.failovers_ms.append(1e3 * (time.monotonic() - killed_s))
                waiting.remove(sender)
        if time.monotonic() - killed_s > _FAILOVER_TIMEOUT_S:
            raise OutputError(f"{len(waiting)} senders found no other receiver within {_FAILOVER_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)
    outcome.kills += 1
    fronts[number].start()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if the records are wrong or the audit finds nothing in the control."""
    parser = report.flags("fronts", __doc__, 1)
    parser.add_argument("--kills", type=int, help=f"number of kills (default: {KILLS}, {QUICK_KILLS} with --quick)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    kills = options.kills or (QUICK_KILLS if options.quick else KILLS)
    outcomes = {"Bodywire": run(kills, options.seed)}
    report.progress(f"Bodywire: {outcomes['Bodywire'].figures()}")
    outcomes["nothing shared"] = run(_CONTROL_KILLS, options.seed, shared=False)
    systems = {name: outcome.figures() for name, outcome in outcomes.items()}
    report.publish(options, systems, f"{kills} kills, {FRONTS} receivers, {SENDERS} senders")
    if outcomes["Bodywire"].faults.any:
        raise OutputError(f"the frame records are wrong: {outcomes['Bodywire'].faults}")
    if not outcomes["nothing shared"].faults.any:
        raise OutputError("the audit found nothing where nothing is shared")


if __name__ == "__main__":
    sys.exit(main())
