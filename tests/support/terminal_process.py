"""Runs a program on a terminal of its own, and shows what its user would see."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pyte

_TIMEOUT_S = 120.0
# More than the test writes: nothing scrolls away.
_ROWS = 400


class TerminalProcess:
    """A process whose standard streams are a terminal.

    Args:
        process: started with the other end of the terminal.
        descriptor: this end.
        width: of the terminal in cells.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, width: int) -> None:
        self.process = process
        self.screen = pyte.Screen(width, _ROWS)
        self._stream = pyte.Stream(self.screen)
        self.output = ""
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def rows(self) -> list[str]:
        """What is on the screen, to its last row with text."""
        return "\n".join(row.rstrip() for row in self.screen.display).rstrip().split("\n")

    def until(self, condition: Callable[[list[str]], bool]) -> None:
        """Reads output until the rows on the screen meet a condition."""
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not condition(self.rows):
            assert time.monotonic() < deadline_s, self.rows
            assert self._read(), f"the program has ended: {self.rows}"

    def wait(self) -> int:
        """Reads the rest of the output; returns the exit code."""
        while self._read():
            pass
        return self.process.wait(_TIMEOUT_S)

    def resize(self, width: int) -> None:
        """Changes the width of the terminal; what was written for the old width is shown first."""
        set_width(self._descriptor, width)
        while select.select([self._descriptor], [], [], 0)[0]:
            self._read()
        self.screen.resize(columns=width)

    def _read(self) -> bool:
        """Waits a moment for output; False at its end."""
        if not select.select([self._descriptor], [], [], 0.1)[0]:
            return True
        data = b""
        with suppress(OSError):  # the program has closed the terminal
            data = os.read(self._descriptor, 65536)
        text = self._decoder.decode(data)
        self.output += text
        self._stream.feed(text)
        return bool(data)


@contextmanager
def on_terminal(*command: str, width: int, **environment: str) -> Iterator[TerminalProcess]:
    """Runs `python -m COMMAND` on a terminal; killed at the end of the block."""
    ours, theirs = pty.openpty()
    set_width(ours, width)
    surroundings = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**surroundings, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    try:
        yield TerminalProcess(process, ours, width)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def set_width(descriptor: int, width: int) -> None:
    """Sets the width of a terminal in cells."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("4H", 40, width, 0, 0))
