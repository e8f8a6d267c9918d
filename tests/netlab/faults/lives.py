"""Lives of processes that end at chosen system calls, and what is lost by it; see `tests.bench.kills`."""

import random
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import OutputError
from receiver.web.database import Database
from tests.netlab.faults import breakable_path, durable_accounts, durable_receiver, durable_sender
from tests.netlab.faults.audit import FAULTS, FaultFound, audit, records_in, wrong_in_recordings
from tests.netlab.faults.forked import Forked
from tests.netlab.faults.volatile_disk import FORGETS, forget
from tests.support.link.certificate_authority import Authority

# How many calls of a process are tried, at its start and in steady state, and how many of them in one episode.
_CALLS = {"receiver": 120, "sender": 100, "accounts": 160}
STRIDE = 5
_LIFE_S, _STOPPED_LIFE_S, _TIMEOUT_S, _DRAIN_S = 3.0, 0.8, 60.0, 300.0
_FINAL_FRAMES, _BACKLOG_S = 20, 0.2
# What the kernel says, and SQLite.
_FULL = ("No space left", "disk is full")
_CLOCK_S = {"later": "3600", "earlier": "-3600"}
# Below those from which the kernel takes the ports of connections.
_PORTS = range(12000, 32000)


@dataclass(frozen=True, slots=True)
class Episode:
    """Lives of one process in one directory, each ended some calls later than the one before."""

    end: str
    condition: str
    kind: str
    first: int
    round: int = 0

    @property
    def key(self) -> str:
        return f"{self.end} {self.condition} {self.kind} {self.first} {self.round}"


class Lab:
    """What an episode runs in."""

    def __init__(self, folder: Path, episode: Episode, bug: str | None) -> None:
        self.folder, self.episode = folder.resolve(), episode
        self.random = random.Random(episode.key)
        self.points: dict[str, list[int]] = {}
        self.kills = 0
        self._lives = 0
        self._bug = () if bug is None else ("--bug", bug)

    def journal(self) -> Path:
        """The journal of another life."""
        self._lives += 1
        journal = self.folder / f"journal-{self._lives}"
        journal.mkdir()
        return journal

    def died(self, process: Forked, journal: Path, timeout_s: float) -> str:
        """Waits for the end that was planned for a process; returns its point.

        Raises:
            OutputError: it has ended in another way.
        """
        planned = process.ended(timeout_s)
        process.kill()
        full = self.episode.kind == "full" and any(text in process.errors for text in _FULL)
        if process.exit_code != -signal.SIGKILL and not full:
            raise OutputError(f"a {process.name} ended with exit code {process.exit_code}: {process.errors}")
        mark = journal / "died"
        forget(journal, self.random.choice(FORGETS), self.random)
        self.kills += 1
        return mark.read_text("utf-8") if planned and mark.exists() else "(time over)"

    def count(self, point: str, faults: Sequence[int]) -> None:
        """Counts a life, and the faults after it."""
        row = self.points.setdefault(f"{self.episode.end}: {point}", [0] * (1 + len(FAULTS)))
        row[:] = [before + more for before, more in zip(row, (1, *faults), strict=True)]
        if any(faults):
            raise FaultFound(f"{self.episode.key} {point}: {dict(zip(FAULTS, faults, strict=True))}")

    def port(self) -> int:
        """A port that nothing listens on, and no connection will take."""
        while True:
            port = self.random.choice(_PORTS)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return port

    def live(self) -> None:
        """Runs the episode. Raises FaultFound, and OutputError for a process that does not do what it should."""
        calls = range(self.episode.first, _CALLS[self.episode.end] + 1, STRIDE)
        (self._change_accounts if self.episode.end == "accounts" else self._deliver)(calls)

    def _change_accounts(self, calls: Sequence[int]) -> None:
        out, ledger = self.folder / "out", self.folder / "ledger"
        process = Forked("changer", durable_accounts.main, self.folder)
        for call in calls:
            journal = self.journal()
            fault = f"{self.episode.kind}:{call}"
            process.start(*_flags(out=out, ledger=ledger, journal=journal, fault=fault))
            point = self.died(process, journal, _TIMEOUT_S)
            last, right = Database(out).read(lambda each: (durable_accounts.last_change(each), _is_right(each)))
            lost = max(max(_numbers(ledger), default=-1) - last, 0)
            self.count(point, (lost, 0, 0, int(not right)))

    def _deliver(self, calls: Sequence[int]) -> None:
        pair = Pair(self, self._bug)
        with closing(pair):
            pair.begin()
            for call in calls:
                point = pair.life(call)
                self.count(point, pair.audit(pair.acknowledged))
            self.count("(end of an episode)", pair.finish())


def _is_right(connection: Any) -> bool:
    return durable_accounts.is_after(connection, durable_accounts.last_change(connection))


def _numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def _flags(**given: object) -> list[str]:
    return [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]


class Pair:
    """A sender and a receiver."""

    def __init__(self, lab: Lab, bug: Sequence[str]) -> None:
        self._lab, self._condition, folder = lab, lab.episode.condition, lab.folder
        self._out, port = folder / "receiver", lab.port()
        self._receiver = Forked("receiver", durable_receiver.main, folder)
        self._sender = Forked("sender", durable_sender.main, folder)
        self._path = Forked("path", breakable_path.main, folder)
        receives, sends = list(bug), {"spool": folder / "spool", "ledger": folder / "ledger", "fps": 60}
        self._relayed = self._condition in ("cut", "datagrams")
        to = lab.port() if self._relayed else port
        self._way = _flags(listen=f"127.0.0.1:{to}", to=f"127.0.0.1:{port}")
        if self._condition == "datagrams":
            authority = Authority.make(folder / "authority")
            certificate, key = authority.issue("receiver", "127.0.0.1")
            receives += _flags(tls_cert=certificate, tls_key=key)
            sends["tls_ca"] = authority.certificate
        self._arguments: dict[Forked, list[str]] = {
            self._receiver: [*_flags(listen=f"127.0.0.1:{port}", out=self._out), *receives],
            self._sender: _flags(peer=f"127.0.0.1:{to}", **sends),
        }
        self._session = ""

    @property
    def acknowledged(self) -> list[int]:
        """Sequences that the sender was told are safe."""
        return _numbers(self._lab.folder / "ledger")

    def begin(self) -> None:
        """Starts everything, and waits for a first frame."""
        if self._relayed:
            self._path.start(*self._way)
            self._path.until_output("ready", _TIMEOUT_S)
        self._start(self._receiver)
        self._receiver.until_output("listening on ", _TIMEOUT_S)
        self._start(self._sender)
        self._session = self._sender.until_output("session ", _TIMEOUT_S)
        self._wait_for(1)

    def life(self, call: int) -> str:
        """Starts the process of the episode anew, until it ends at a call; returns the point."""
        lab, condition = self._lab, self._condition
        victim = self._sender if lab.episode.end == "sender" else self._receiver
        victim.kill()
        self._start_all(but=victim)
        if condition == "backlog":
            time.sleep(_BACKLOG_S)
        clock = _CLOCK_S.get(condition, "0")
        journal = self._start(victim, *_flags(fault=f"{lab.episode.kind}:{call}"), f"--clock={clock}")
        self._disturb(victim)
        point = lab.died(victim, journal, _STOPPED_LIFE_S if condition == "stopped" else _LIFE_S)
        for process in (self._sender, self._receiver):
            process.signal(signal.SIGCONT)
        return point

    def _disturb(self, victim: Forked) -> None:
        """Does what the condition is, beside the life of a process."""
        other, between_s = self._receiver if victim is self._sender else self._sender, self._lab.random.uniform
        time.sleep(between_s(0.0, 0.2) if self._condition in ("stopped", "cut", "datagrams") else 0.0)
        if self._condition == "stopped":
            other.signal(signal.SIGSTOP)
        elif self._condition == "cut":
            self._path.signal(signal.SIGUSR1)
        elif self._condition == "datagrams":
            self._path.signal(signal.SIGUSR2)
        elif self._condition == "backlog" and victim is self._sender:
            other.signal(signal.SIGSTOP)
            time.sleep(_BACKLOG_S)
            other.signal(signal.SIGCONT)

    def audit(self, promised: Sequence[int]) -> list[int]:
        """The number of faults of each kind in what the receiver has, of which these must be there."""
        return audit(promised, records_in(self._out, self._session)).counts()

    def finish(self) -> list[int]:
        """Ends the sender, and returns the faults in what the receiver has of all that it has captured."""
        self._start_all()
        self._wait_for(_FINAL_FRAMES)
        self._sender.signal(signal.SIGTERM)
        captured = int(self._sender.until_output("delivered ", _DRAIN_S).split()[0])
        faults = self.audit(range(captured))
        receiver = self._receiver
        receiver.signal(signal.SIGTERM)
        if not receiver.ended(_TIMEOUT_S) or receiver.exit_code:
            raise OutputError(f"a receiver ended with exit code {receiver.exit_code}: {receiver.errors}")
        faults[-1] += len(wrong_in_recordings(self._out / "recorded"))
        return faults

    def close(self) -> None:
        for process in (self._sender, self._receiver, self._path):
            process.kill()

    def _start_all(self, but: Forked | None = None) -> None:
        """Starts what does not run."""
        for process in (self._receiver, self._sender):
            if process is not but and process.ended(0.0):
                self._start(process)

    def _start(self, process: Forked, *more: str) -> Path:
        journal = self._lab.journal()
        process.start(*self._arguments[process], *_flags(journal=journal), *more)
        return journal

    def _wait_for(self, more: int) -> None:
        """Waits until so many more frames are acknowledged. Raises OutputError: they are not, within a minute."""
        began_s, wanted = time.monotonic(), len(self.acknowledged) + more
        while len(self.acknowledged) < wanted:
            if time.monotonic() > began_s + _TIMEOUT_S:
                errors = f"{self._sender.errors}; {self._receiver.errors}"
                raise OutputError(f"a sender got no acknowledgement for {_TIMEOUT_S:g} s: {errors}")
            time.sleep(0.005)
