"""Processes under watch: their errors are kept and searched, and they end with the campaign."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputError

ALARMS = re.compile(r"Traceback|Fatal|core dumped|Unhandled|never retrieved|never awaited|Segmentation")
"""What no process may write to stderr."""
_CONTEXT_LINES = 14
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Alarm:
    """A place on stderr that shows a bug.

    Args:
        excerpt: the line and those behind it.
    """

    process: str
    excerpt: str

    @property
    def cause(self) -> str:
        """The exception's own line, where there is one: alarms of one cause are counted together."""
        lines = [line for line in self.excerpt.splitlines() if line and not line.startswith(" ")]
        own = [line for line in lines[1:] if re.match(r"[\w.]+(Error|Exception|Cancelled\w*)\b", line)]
        return (own or lines or [""])[0][:160]


class Watched:
    """A process in a group of its own.

    Args:
        command: arguments of `python`.
        folder: gets its output and errors, as files.
        nice: added to its niceness: attackers must not take the processor from those whom they attack.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        nice: int = 0,
    ) -> None:
        number = len(list(folder.glob(f"{name}-*.err"))) + 1
        self.name = name
        self._output, self._errors = folder / f"{name}-{number}.out", folder / f"{name}-{number}.err"
        arguments = [*(["nice", "-n", str(nice)] if nice else []), sys.executable, *command]
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
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
        """Waits for a line of output with this prefix.

        Raises:
            OutputError: it has ended, or there is no such line in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            for line in self.output.splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith("\n"):
                    return line.strip()
            if self.exit_code is not None:
                raise OutputError(f"{self.name} ended with exit code {self.exit_code}: {self.errors[-500:]}")
            time.sleep(0.05)
        raise OutputError(f"{self.name} did not print {prefix!r} within {timeout_s:g} s")

    def signal(self, number: int) -> None:
        """Sends a signal to the group; none if it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float) -> float | None:
        """Seconds until it ended; None if it did not, in time.

        Time that its main thread waited for a processor is not counted: the machine may have other work.
        """
        started_s, queued_s = time.monotonic(), self._queued_s()
        last_s = queued_s
        while self._process.poll() is None:
            if time.monotonic() - started_s > timeout_s:
                return None
            time.sleep(_POLL_S)
            last_s = max(last_s, self._queued_s())
        return time.monotonic() - started_s - (last_s - queued_s)

    def _queued_s(self) -> float:
        """Seconds that its main thread was ready and had no processor; 0 where the kernel does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def kill(self) -> None:
        """SIGKILL, also for a group that is stopped."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def alarms(self) -> list[Alarm]:
        """Signs of bugs in its errors, and an exit by a signal that nobody sent."""
        lines = self.errors.splitlines()
        found, last = [], -_CONTEXT_LINES
        for number, line in enumerate(lines):
            # The lines behind an alarm belong to it.
            if ALARMS.search(line) and number >= last + _CONTEXT_LINES:
                found.append(Alarm(self.name, "\n".join(lines[number : number + 3 * _CONTEXT_LINES])))
                last = number
        if self.exit_code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL):
            found.append(Alarm(self.name, f"killed by {signal.Signals(-self.exit_code).name}"))
        return found


def resident_kb(pid: int) -> int:
    """Resident memory of a process, kB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
