"""Runs the two daemons as their users do: as processes, with flags."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes.forked_program import ForkedProgram

TIMEOUT_S = 180.0
CERTS = Path(__file__).parents[2] / "deploy" / "certs"


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


@dataclass(frozen=True, slots=True)
class Secured:
    """Flags of a receiver and a sender with certificates and a token, as documented."""

    receiver: tuple[str, ...]
    sender: tuple[str, ...]
    token: tuple[str, ...]

    @classmethod
    def in_folder(cls, folder: Path) -> "Secured":
        """Makes the files."""
        certs, tokens, token = folder / "certs", folder / "tokens.toml", folder / "token"
        for script, *more in (["make-ca.sh"], ["issue.sh", "receiver", "127.0.0.1"], ["issue.sh", "camera"]):
            subprocess.run(["sh", str(CERTS / script), str(certs), *more], check=True, capture_output=True)
        add = [sys.executable, "-m", "receiver.link.auth.tokens", str(tokens), "camera", "--days", "1"]
        token.write_text(subprocess.run(add, check=True, capture_output=True, text=True).stdout)

        def flags(name: str) -> tuple[str, ...]:
            pair = ("--tls-cert", str(certs / f"{name}.pem"), "--tls-key", str(certs / f"{name}.key"))
            return (*pair, "--tls-ca", str(certs / "ca.pem"))

        return cls((*flags("receiver"), "--tokens", str(tokens)), flags("camera"), ("--token-file", str(token)))
