"""Processes whose output and errors are kept, and which end with the one that starts them."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import OutputError
from tests.netlab.programs import module_command

_POLL_S = 0.02


class Watched:
    """A process in a group of its own.

    Args:
        command: arguments of `python -m`.
        folder: gets its output and errors, as files.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        number = len(list(folder.glob(f"{name}-*.err"))) + 1
        self.name = name
        self._output, self._errors = folder / f"{name}-{number}.out", folder / f"{name}-{number}.err"
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                module_command(*command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

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

    def kill(self) -> None:
        """SIGKILL, also for a group that is stopped."""
        self.signal(signal.SIGKILL)
        self._process.wait()
