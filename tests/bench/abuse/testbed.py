"""The receiver under attack, and the honest senders beside it."""

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from common.io.addresses import Address
from common.labels import LABEL_SIZE
from common.weights.manifest import model_hash
from tests.bench.abuse.outcome import Journal
from tests.bench.abuse.supervision import Watched
from tests.netlab.hostile_client import Target
from tests.support.certificate_authority import Authority
from tests.support.free_port import free_port

FAMILIES = ("protocol", "theft", "packets", "connections", "load", "doors")
ACCOUNTS = ("studio", "victim", *FAMILIES)
"""The honest senders', that of other sessions that are attacked, and one for each family of attacks."""
LIVE_FPS, DURABLE_FPS = 2.0, 1.0
"""Rates of the honest senders: a fifth of what the receiver reconstructs on two cores."""
DRAIN_TIMEOUT_S = 1.0
START_TIMEOUT_S = 90.0
_ANSWER_TIMEOUT_S = 15.0
# Meshes are not what is attacked.
_MESH_EVERY = 1000


class Testbed:
    """A receiver with TLS and several accounts, and two honest senders: one live, one with complete delivery.

    Args:
        patience: factor of the time limits, above 1 on machines that are busy with other work.
    """

    __test__ = False

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder, self.patience = folder, patience
        self.out, self.logs = folder / "out", folder / "logs"
        self.logs.mkdir()
        self.live_log, self.ledger = folder / "live.log", folder / "ledger"
        self.target_file = folder / "target.json"
        self.journal = Journal(folder / "journal")
        self.processes: list[Watched] = []
        self.gave_up: list[str] = []
        address = Address("127.0.0.1", free_port())
        self.authority = Authority.make(folder / "certs")
        self.certificate, self.key = self.authority.issue("receiver", "127.0.0.1")
        self.token_table = folder / "tokens.toml"
        tokens, timeout_s = {account: self._token(account) for account in ACCOUNTS}, _ANSWER_TIMEOUT_S * patience
        known: Any = {"metrics": Address("127.0.0.1", free_port()), "answer_timeout_s": timeout_s}
        self.target = Target(address, model_hash(), self.authority.certificate, tokens, **known)

    def _token(self, account: str) -> str:
        command = [sys.executable, "-m", "receiver.link.auth.tokens", str(self.token_table), account]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def begin(self) -> None:
        """Starts the receiver and the honest senders.

        Raises:
            OutputError: a process does not start.
        """
        self.target.write(self.target_file)
        (self.folder / "studio.token").write_text((self.target.tokens or {})["studio"])
        np.save(self.folder / "labels.npy", _movement())
        self.receiver = self.start_receiver()
        self.live, self.durable = self.start_live(), self.start_durable()

    def close(self) -> None:
        for process in self.processes:
            if process.exit_code is None:
                process.kill()

    def start(self, name: str, *command: str, nice: int = 0) -> Watched:
        """Starts a process of this campaign; it is killed at the end."""
        process = Watched(name, command, self.logs, nice=nice)
        self.processes.append(process)
        return process

    def start_receiver(self) -> Watched:
        """Starts the receiver and waits until it listens.

        Raises:
            OutputError: it does not.
        """
        flags = ["--listen", str(self.target.address), "--out", str(self.out), "--no-body"]
        flags += ["--tls-cert", str(self.certificate), "--tls-key", str(self.key), "--tokens", str(self.token_table)]
        flags += ["--drain-timeout", f"{DRAIN_TIMEOUT_S:g}", "--mesh-every", str(_MESH_EVERY)]
        flags += ["--metrics", str(self.target.metrics)]
        receiver = self.start("receiver", "receiver", *flags)
        receiver.until_output("listening on ", START_TIMEOUT_S)
        return receiver

    def restart_receiver(self) -> None:
        self.receiver = self.start_receiver()

    def start_live(self) -> Watched:
        files = ["--labels", str(self.folder / "labels.npy"), "--log", str(self.live_log)]
        rate = ["--live", "--fps", f"{LIVE_FPS:g}"]
        return self.start("live", "tests.netlab.logging_sender", *self._link_flags, *files, *rate)

    def start_durable(self) -> Watched:
        files = ["--spool", str(self.folder / "spool"), "--ledger", str(self.ledger)]
        rate = ["--fps", f"{DURABLE_FPS:g}"]
        return self.start("durable", "tests.netlab.durable_sender", *self._link_flags, *files, *rate)

    @property
    def _link_flags(self) -> list[str]:
        """How a sender of the honest account reaches the receiver."""
        access = ["--tls-ca", str(self.authority.certificate), "--token-file", str(self.folder / "studio.token")]
        return ["--peer", str(self.target.address), *access, "--model", self.target.model.hex()]

    def fill_disk(self) -> None:
        """The receiver's files cannot grow any more."""
        largest = max((path.stat().st_size for path in self.out.rglob("*.jsonl")), default=0)
        resource.prlimit(self.receiver.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def empty_disk(self) -> None:
        """Ends `fill_disk`."""
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.receiver.pid, resource.RLIMIT_FSIZE, unlimited)

    def tend(self) -> None:
        """Starts what has ended by itself again, and notes it."""
        for name in ("receiver", "live", "durable"):
            process: Watched = getattr(self, name)
            if process.exit_code is not None:
                last = process.errors.strip().splitlines()[-1:] or ["no message"]
                self.gave_up.append(f"{name} ended with exit code {process.exit_code}: {last[0][:300]}")
                setattr(self, name, getattr(self, f"start_{name}")())

    def progress(self) -> tuple[int, int]:
        """Frames that the live and the other honest sender know to be recorded."""
        live = self.live_log.read_bytes().count(b'"acknowledged"') if self.live_log.exists() else 0
        durable = self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0
        return live, durable

    def until_progress(self, timeout_s: float) -> float | None:
        """Seconds until both honest senders have one more frame recorded; None if they have not, in time."""
        before, started_s = self.progress(), time.monotonic()
        while time.monotonic() < started_s + timeout_s:
            now = self.progress()
            if all(after > earlier for after, earlier in zip(now, before, strict=True)):
                return time.monotonic() - started_s
            self.tend()
            time.sleep(0.1)
        return None

    def wait(self, seconds: float) -> None:
        """Lets time pass; what ends by itself is started again."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.tend()
            time.sleep(min(0.25, max(0.0, until_s - time.monotonic())))

    def finish(self) -> tuple[int | None, list[str]]:
        """Stops the senders in order, the one with complete delivery when all is delivered.

        Returns:
            How many frames it has captured (None: it did not finish), and what went wrong.
        """
        problems = []
        for sender in (self.durable, self.live):
            sender.signal(signal.SIGTERM)
            if sender.wait(60.0) is None or sender.exit_code:
                problems.append(f"the sender {sender.name!r} did not finish ({sender.exit_code})")
        last = [line for line in self.durable.output.splitlines() if line.startswith("delivered ")]
        return (int(last[-1].split()[1]) if last else None), problems


@contextmanager
def open_testbed(patience: float) -> Iterator[Testbed]:
    """A running testbed in a temporary folder; nothing of it is left afterwards.

    Raises:
        OutputError: a process does not start.
    """
    with TemporaryDirectory(prefix="bodywire-abuse-", ignore_cleanup_errors=True) as folder:
        bed = Testbed(Path(folder), patience)
        try:
            bed.begin()
            yield bed
        finally:
            bed.close()


def _movement() -> np.ndarray:
    """Labels of one person who moves a little."""
    at = np.arange(100)[:, None] / 9 + np.arange(LABEL_SIZE)
    return np.asarray(np.sin(at) / 3, np.float32)
