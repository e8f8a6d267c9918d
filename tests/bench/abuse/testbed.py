"""The receiver under attack, the honest senders beside it, and the record of their resources."""

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.io.addresses import Address
from common.labels import LABEL_SIZE
from common.weights.manifest import model_hash
from tests.bench.abuse.outcome import Journal
from tests.bench.abuse.supervision import Watched, resident_kb
from tests.netlab.hostile_client import Target
from tests.support.tcp_relay import TcpRelay

ROOT = Path(__file__).parents[3]
FAMILIES = ("protocol", "theft", "packets", "connections", "load")
ACCOUNTS = ("studio", "victim", "mallory", *FAMILIES)
"""The honest senders', that of other sessions that are attacked, and one for each family of attacks."""
LIVE_FPS, DURABLE_FPS = 2.0, 1.0
"""Rates of the honest senders: a fifth of what the receiver reconstructs on two cores."""
DRAIN_TIMEOUT_S = 1.0
START_TIMEOUT_S = 90.0
_ANSWER_TIMEOUT_S = 15.0
_PORTS = range(20_000, 32_000)
_SAMPLE_S = 1.0
_MESH_EVERY = 5
_KEPT_MESHES = 100
_DISK_MB, _FREE_KB = 2048, 8


@dataclass(frozen=True, slots=True)
class Sample:
    """The receiver at one moment.

    Args:
        at: seconds since the epoch.
        pid: changes with each restart.
    """

    at: float
    pid: int
    rss_kb: int


class Disk:
    """A directory on a small file system of its own, in memory, where this process may mount one.

    Elsewhere a full disk is imitated by a limit on the size of the receiver's files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mounted = self._mount("-t", "tmpfs", "-o", f"size={_DISK_MB}m,mode=700", "none", str(path))

    def close(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True)

    def fill(self, pid: int) -> None:
        """Leaves no space for the process that writes here."""
        if self._mounted:
            status = os.statvfs(self.path)
            used_kb = (status.f_blocks - status.f_bfree) * status.f_frsize // 1024
            self._mount("-o", f"remount,size={used_kb + _FREE_KB}k", str(self.path))
        else:
            largest = max((path.stat().st_size for path in self.path.rglob("*.jsonl")), default=0)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def empty(self, pid: int) -> None:
        if self._mounted:
            self._mount("-o", f"remount,size={_DISK_MB}m", str(self.path))
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _mount(self, *arguments: str) -> bool:
        try:
            return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
        except FileNotFoundError:
            return False


class Network:
    """What the honest senders reach the receiver through, on a thread of its own."""

    def __init__(self, target: Address) -> None:
        self._relay, self._loop = TcpRelay(target), asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="network", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._relay.start(), self._loop).result()
        self.address = self._relay.address

    def cut(self) -> None:
        """Resets all connections."""
        self._loop.call_soon_threadsafe(self._relay.cut)

    def silence(self) -> None:
        """Delivers nothing from now on."""
        self._loop.call_soon_threadsafe(self._relay.black_hole)

    def restore(self) -> None:
        """Relays new connections again."""
        self._loop.call_soon_threadsafe(self._relay.restore)


class Testbed:
    """A receiver with TLS and several accounts, and two honest senders: one live, one with complete delivery.

    Args:
        disk: for the receiver's output.
        rng: for ports.
        patience: factor of the time limits, above 1 on machines that are busy with other work.
    """

    __test__ = False

    def __init__(self, folder: Path, disk: Disk, rng: random.Random, patience: float) -> None:
        self.folder, self.disk, self.patience = folder, disk, patience
        self.out = disk.path / "out"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.journal = Journal(folder / "journal")
        self.processes: list[Watched] = []
        self.samples: list[Sample] = []
        self.gave_up: list[str] = []
        self._closing = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name="monitor", daemon=True)
        self._port = free_port(rng)
        self.network = Network(Address("127.0.0.1", self._port))

    def begin(self) -> None:
        """Starts the receiver and the honest senders.

        Raises:
            OutputError: a process does not start.
        """
        self._authenticate()
        np.save(self.folder / "labels.npy", _movement())
        self.receiver = self.start_receiver()
        self.live, self.durable = self._start_live(), self._start_durable()
        self._monitor.start()

    def close(self) -> None:
        self._closing.set()
        for process in self.processes:
            if process.exit_code is None:
                process.kill()
        if self._monitor.is_alive():
            self._monitor.join()

    def _authenticate(self) -> None:
        """Makes certificates and the tokens of both accounts."""
        self.certificates = self.folder / "certs"
        scripts = ROOT / "deploy" / "certs"
        for script, *more in (["make-ca.sh"], ["issue.sh", "receiver", "127.0.0.1"]):
            command = ["sh", str(scripts / script), str(self.certificates), *more]
            subprocess.run(command, check=True, capture_output=True)
        self.token_table = self.folder / "tokens.toml"
        tokens = {}
        for account in ACCOUNTS:
            command = [sys.executable, "-m", "receiver.link.auth.tokens", str(self.token_table), account]
            tokens[account] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            (self.folder / f"{account}.token").write_text(tokens[account])
        address = Address("127.0.0.1", self._port)
        timeout_s = _ANSWER_TIMEOUT_S * self.patience
        ca = self.certificates / "ca.pem"
        self.target = Target(address, model_hash(), ca, tokens, self.out, answer_timeout_s=timeout_s)
        self.target.write(self.target_file)

    @property
    def target_file(self) -> Path:
        """The target, for attackers."""
        return self.folder / "target.json"

    @property
    def sender_flags(self) -> list[str]:
        """How a sender of the honest account reaches the receiver."""
        token = str(self.folder / "studio.token")
        return [
            "--peer",
            str(self.network.address),
            "--tls-ca",
            str(self.certificates / "ca.pem"),
            "--token-file",
            token,
        ]

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
        flags = {
            "--listen": str(self.target.address),
            "--out": str(self.out),
            "--tls-cert": str(self.certificates / "receiver.pem"),
            "--tls-key": str(self.certificates / "receiver.key"),
            "--tokens": str(self.token_table),
            "--drain-timeout": f"{DRAIN_TIMEOUT_S:g}",
            "--mesh-every": str(_MESH_EVERY),
        }
        pairs = [part for pair in flags.items() for part in pair]
        receiver = self.start("receiver", "-m", "receiver", *pairs, "--no-body")
        receiver.until_output("listening on ", START_TIMEOUT_S)
        return receiver

    def restart_receiver(self) -> None:
        self.receiver = self.start_receiver()

    def _start_live(self) -> Watched:
        files = ["--labels", str(self.folder / "labels.npy"), "--log", str(self.live_log)]
        rate = ["--live", "--fps", f"{LIVE_FPS:g}", "--model", self.target.model.hex()]
        return self.start("live", "-m", "tests.netlab.logging_sender", *self.sender_flags, *files, *rate)

    def _start_durable(self) -> Watched:
        files = ["--spool", str(self.folder / "spool"), "--ledger", str(self.ledger)]
        rate = ["--fps", f"{DURABLE_FPS:g}", "--model", self.target.model.hex()]
        return self.start("durable", "-m", "tests.netlab.durable_sender", *self.sender_flags, *files, *rate)

    def restart_durable(self) -> None:
        """Starts the sender with complete delivery again after it has ended."""
        self.durable = self._start_durable()

    @property
    def live_log(self) -> Path:
        return self.folder / "live.log"

    @property
    def ledger(self) -> Path:
        """Acknowledged frames of the sender with complete delivery."""
        return self.folder / "ledger"

    def tend(self) -> None:
        """Starts what has ended by itself again, and notes it."""
        for name in ("receiver", "live", "durable"):
            process: Watched = getattr(self, name)
            if process.exit_code is None:
                continue
            last = process.errors.strip().splitlines()[-1:] or ["no message"]
            self.gave_up.append(f"{name} ended with exit code {process.exit_code}: {last[0][:300]}")
            start = {"receiver": self.start_receiver, "live": self._start_live, "durable": self._start_durable}
            setattr(self, name, start[name]())

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

    def log_lines(self) -> int:
        """Lines that receiver and honest senders have written to stderr."""
        return sum(process.errors.count("\n") for process in (self.receiver, self.live, self.durable))

    def finish(self) -> tuple[int | None, str]:
        """Stops the senders in order, the one with complete delivery when all is delivered.

        Returns:
            How many frames it has captured (None: it did not finish), and what went wrong.
        """
        problems = []
        self.durable.signal(signal.SIGTERM)
        if self.durable.wait(60.0) is None or self.durable.exit_code:
            problems.append(f"the sender with complete delivery did not finish ({self.durable.exit_code})")
        self.live.signal(signal.SIGTERM)
        if self.live.wait(20.0) is None or self.live.exit_code:
            problems.append(f"the live sender did not finish ({self.live.exit_code})")
        last = [line for line in self.durable.output.splitlines() if line.startswith("delivered ")]
        return (int(last[-1].split()[1]) if last else None), "; ".join(problems)

    def _watch(self) -> None:
        while not self._closing.wait(_SAMPLE_S):
            pid = self.receiver.pid
            rss_kb = resident_kb(pid)
            if rss_kb:
                self.samples.append(Sample(time.time(), pid, rss_kb))
            self._remove_old_meshes()

    def _remove_old_meshes(self) -> None:
        """What an operator's housekeeping does: the receiver itself never removes meshes."""
        with suppress(OSError):
            meshes = sorted((self.out / "meshes").iterdir(), key=os.path.getmtime)
            for mesh in meshes[:-_KEPT_MESHES]:
                mesh.unlink(missing_ok=True)


@contextmanager
def open_testbed(rng: random.Random, patience: float) -> Iterator[Testbed]:
    """A running testbed in a temporary folder; nothing of it is left afterwards.

    Raises:
        OutputError: a process does not start.
    """
    with ExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="bodywire-abuse-", ignore_cleanup_errors=True))
        disk = Disk(Path(name) / "disk")
        stack.callback(disk.close)
        bed = Testbed(Path(name), disk, rng, patience)
        stack.callback(bed.close)
        bed.begin()
        yield bed


def free_port(rng: random.Random) -> int:
    """A free port that the kernel does not give to outgoing connections."""
    while True:
        port = rng.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _movement() -> np.ndarray:
    """Labels of one person who moves a little."""
    at = np.arange(100)[:, None] / 9 + np.arange(LABEL_SIZE)
    return np.asarray(np.sin(at) / 3, np.float32)
