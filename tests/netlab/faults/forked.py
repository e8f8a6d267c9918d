"""Programs that are forked from this process, which has imported them: they start in milliseconds.

This process must have one thread, and must not have used gRPC, whose state no fork survives.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import OutputError, exit_code_of
from receiver.web.children.end_with_parent import end_with

_POLL_S = 0.005


class Forked:
    """A program that can be ended and started again; it ends with this process.

    Args:
        main: reads its arguments from `sys.argv`.
        folder: exists; gets the output and errors of the newest start, as files.
    """

    def __init__(self, name: str, main: Callable[[], object], folder: Path) -> None:
        self.name, self._main = name, main
        self._output, self._errors = folder / f"{name}.out", folder / f"{name}.err"
        self._pid = self._handle = -1
        self.exit_code: int | None = 0
        """None while it runs; negative if a signal has killed it."""

    def start(self, *arguments: str) -> None:
        """Starts it; it does not run."""
        assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not fork"
        self._output.unlink(missing_ok=True)
        sys.stdout.flush()
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            os._exit(self._become(parent, arguments))
        self._handle, self.exit_code = os.pidfd_open(self._pid), None

    def _become(self, parent: int, arguments: Sequence[str]) -> int:
        """Is the program, in the new process; returns its exit code."""
        end_with(parent)
        for number, path in ((1, self._output), (2, self._errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = [self.name, *arguments]
        try:
            return exit_code_of(self.name, self._main)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 1

    @property
    def errors(self) -> str:
        """What it has written last to its standard error."""
        return self._errors.read_text("utf-8", "replace")[-1500:] if self._errors.exists() else ""

    def ended(self, timeout_s: float) -> bool:
        """Waits for its end; returns whether it has ended."""
        if self.exit_code is None and select.select([self._handle], [], [], timeout_s)[0]:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            os.close(self._handle)
        return self.exit_code is not None

    def until_output(self, prefix: str, timeout_s: float) -> str:
        """Waits for a line of output with this prefix, and returns the rest of it.

        Raises:
            OutputError: it has ended, or there is no such line in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            ended = self.ended(0.0)
            lines = (
                self._output.read_text("utf-8", "replace").splitlines(keepends=True) if self._output.exists() else []
            )
            for line in lines:
                if line.startswith(prefix) and line.endswith("\n"):
                    return line.removeprefix(prefix).strip()
            if ended:
                raise OutputError(f"a {self.name} ended with exit code {self.exit_code}: {self.errors}")
            time.sleep(_POLL_S)
        raise OutputError(f"a {self.name} did not print {prefix!r} within {timeout_s:g} s: {self.errors}")

    def signal(self, number: int) -> None:
        """Sends a signal; none if it has ended."""
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def kill(self) -> None:
        """SIGKILL, also if it is stopped."""
        self.signal(signal.SIGKILL)
        self.ended(60.0)
