"""Runs the two daemons as their users do: as processes, with flags."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes.forked_program import ForkedProgram

TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class RunningReceiver:
    """A receiver that listens.

    Args:
        address: host:port.
        page: address of the web page; empty without one.
    """

    process: ForkedProgram
    address: str
    page: str = ""

    def terminate(self) -> tuple[int | None, str]:
        """Sends SIGTERM; returns the exit code and the output on stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, errors


@contextmanager
def receiver(out: Path, *flags: str, listen: str = "127.0.0.1:0") -> Iterator[RunningReceiver]:
    """A receiver on a free port of the loopback; killed at the end of the block. It has a page if `--http` is given."""
    page = ("--http-token", "none") if "--http" in flags else ("--no-page",)
    process = ForkedProgram("receiver", ["--listen", listen, "--out", str(out), *page, *flags])
    try:
        line = process.stdout.readline()  # "listening on HOST:PORT (…", see `startup_line`
        if not line.startswith("listening on "):
            _, errors = process.communicate(timeout=TIMEOUT_S)
            raise AssertionError(f"the receiver did not start (exit code {process.returncode}): {errors}")
        # "page: http://HOST:PORT/"
        url = "" if "--no-page" in page else process.stdout.readline().split()[1].rstrip("/")
        yield RunningReceiver(process, line.split()[2], url)
    finally:
        process.kill()
        process.communicate()


def run(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs `sender` or `receiver` until it ends."""
    process = ForkedProgram(program, flags)
    output, errors = process.communicate(TIMEOUT_S)
    assert process.returncode is not None
    return subprocess.CompletedProcess([program, *flags], process.returncode, output, errors)
