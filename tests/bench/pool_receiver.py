"""A receiver with a pool of replicas on this machine, as a process, for benches that load it or kill its replicas."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import OutputError
from common.io.addresses import Address
from tests.bench.abuse.supervision import resident_kb

_EXIT_TIMEOUT_S = 60.0


class PoolReceiver:
    """A receiver as it ships, with `--engine ray`; a context manager that ends it and its pool.

    Args:
        out: its output directory.
        replicas: of the pool, with half a core each, because Ray reserves cores.

    Raises:
        OutputError: it did not start; its error is printed above.
    """

    def __init__(self, out: Path, replicas: int, *flags: str) -> None:
        self.out = out
        command = [
            *(sys.executable, "-m", "receiver", "--listen", "127.0.0.1:0", "--out", str(out), "--no-page"),
            *("--engine", "ray", "--replicas", str(replicas), "--replica-cpus", "0.5"),
            # All senders are one account here.
            *("--max-sessions", "1000", "--peer-sessions", "1000", "--log-level", "error"),
            *("--peer-messages-per-second", "10000", *flags),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            self._process.wait(_EXIT_TIMEOUT_S)
            raise OutputError("the receiver did not start; see its error above")
        self.peer = Address.parse(line.removeprefix("listening on ").split()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def alive(self) -> bool:
        """Whether the receiver runs."""
        return self._process.poll() is None

    @property
    def replicas(self) -> list[int]:
        """The processes of its replicas, those that still load their networks too."""
        return sorted(
            number
            for number in map(int, filter(str.isdigit, os.listdir("/proc")))
            if _command(number).startswith(b"ray::ServeReplica") and self._is_below(number)
        )

    def kill_replica(self, process: int) -> None:
        """Kills a replica with SIGKILL, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory of the receiver, and of all its replicas, in MB."""
        return resident_kb(self._process.pid) / 1e3, sum(map(resident_kb, self.replicas)) / 1e3

    def _is_below(self, process: int) -> bool:
        """Whether the receiver started a process; replicas are children of its Ray node."""
        return _parent(_parent(process)) == self._process.pid


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(process: int) -> int:
    """The parent of a process, 0 if it has ended."""
    try:
        # The name, in parentheses, may have spaces.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
