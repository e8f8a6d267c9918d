"""Processes under watch: their errors are kept and searched, and they end with the campaign."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import OutputError
from tests.netlab.programs import module_command

_ALARMS = re.compile(r"Traceback|Fatal|core dumped|Unhandled|never retrieved|never awaited|Segmentation")
"""What no process may write to stderr."""
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_CONTEXT_LINES = 14
_POLL_S = 0.02


class Watched:
    """A process in a group of its own.

    Args:
        command: arguments of `python -m`.
        folder: gets its output and errors, as files.
        nice: added to its niceness: attackers must not take the processor from those whom they attack.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, *, nice: int = 0) -> None:
        number = len(list(folder.glob(f"{name}-*.err"))) + 1
        self.name = name
        self._output, self._errors = folder / f"{name}-{number}.out", folder / f"{name}-{number}.err"
        arguments = [*(["nice", "-n", str(nice)] if nice else []), *module_command(*command)]
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal has killed it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    @property
    def errors(self) -> str:
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def until_output(self, prefix: str, timeout_s: float) -> str:
        """Waits for a line of output with this prefix, and returns the rest of it.

        Raises:
            OutputError: it has ended, or there is no such line in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            ended = self.exit_code
            for line in self.output.splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith("\n"):
                    return line.removeprefix(prefix).strip()
            if ended is not None:
                raise OutputError(f"{self.name} ended with exit code {ended}: {self.errors[-500:]}")
            time.sleep(_POLL_S)
        raise OutputError(f"{self.name} did not print {prefix!r} within {timeout_s:g} s")

    def signal(self, number: int) -> None:
        """Sends a signal to the group; none if it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float) -> float | None:
        """Seconds until it ended; None if it did not, in time."""
        started_s = time.monotonic()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - started_s

    def kill(self) -> None:
        """SIGKILL, also for a group that is stopped."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def alarms(self) -> list[str]:
        """Causes of signs of bugs in its errors, and of an exit by a signal that nobody sent."""
        lines = self.errors.splitlines()
        found, last = [], -_CONTEXT_LINES
        for number, line in enumerate(lines):
            # The lines behind an alarm belong to it.
            if _ALARMS.search(line) and number >= last + _CONTEXT_LINES:
                found.append(_cause(lines[number : number + 3 * _CONTEXT_LINES]))
                last = number
        if self.exit_code and -self.exit_code in _CRASHES:
            found.append(f"killed by {signal.Signals(-self.exit_code).name}")
        return found


def _cause(lines: Sequence[str]) -> str:
    """The exception's own line, where there is one: alarms of one cause are counted together."""
    flush = [line for line in lines if line and not line.startswith(" ")]
    own = [line for line in flush[1:] if re.match(r"[\w.]+(Error|Exception|Cancelled\w*)\b", line)]
    return (own or flush)[0][:160]


def resident_kb(pid: int) -> int:
    """Resident memory of a process, kB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
