"""What a daemon writes to stderr: log records, and on a terminal one status line below them.

The status line is erased before a record is written and drawn again behind it, so that records scroll above it.
"""

import io
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from common.io.status_line import ASCII, UNICODE, Symbols

_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 1.0
_ERASE_BELOW = "\x1b[J"

Render = Callable[[int, Symbols], Text]
"""The status line for a width in cells."""


def is_interactive(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    with suppress(ValueError):  # closed
        return stream.isatty() and environment.get("TERM", "dumb") not in ("dumb", "unknown")
    return False


class Terminal:
    """A stream of lines, with a status line at the end while `showing`.

    Args:
        live: whether a status line is shown at all; otherwise `showing` does nothing.
        environment: NO_COLOR turns off colours.
        width: of the terminal in cells.
        interval_s: between two drawings.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        live: bool = False,
        environment: Mapping[str, str] = os.environ,
        width: Callable[[], int] | None = None,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self.stream = stream
        self._live = live
        self._width = width or self._terminal_width
        self._interval_s = interval_s
        self._lock = threading.RLock()
        self._render: Render | None = None
        self._drawn = ""
        self._drawn_cells = 0
        self._symbols = UNICODE if (getattr(stream, "encoding", None) or "").lower().startswith("utf") else ASCII
        self._canvas = io.StringIO()
        self._console = Console(file=self._canvas, force_terminal=live, legacy_windows=False, _environ=environment)

    @contextmanager
    def above(self) -> Iterator[None]:
        """What the block writes to the terminal, in whole lines, stands above the status line."""
        with self._lock:
            self._erase()
            try:
                yield
            finally:
                self._draw()

    @contextmanager
    def showing(self, render: Render) -> Iterator[None]:
        """Shows a status line during the block, and draws it again in intervals; erased at the end."""
        if not self._live:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._redraw_until, args=(ended,), name="status line", daemon=True)
        with self._lock:
            self._render = render
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_STOP_TIMEOUT_S)
            with self._lock:
                self._erase()
                self._render, self._drawn, self._drawn_cells = None, "", 0

    def redraw(self) -> None:
        """Draws the status line with its present content, for the present width."""
        with self._lock:
            if self._render is None:
                return
            # The last column stays free: some terminals wrap as soon as it is written.
            text = self._render(max(self._width() - 1, 0), self._symbols)
            self._console.print(text, end="", soft_wrap=True)
            shown = self._canvas.getvalue()
            self._canvas.seek(0)
            self._canvas.truncate()
            if shown != self._drawn or self._rows() > 1:
                self._erase()
                self._drawn, self._drawn_cells = shown, cell_len(text.plain)
                self._draw()

    def _redraw_until(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self.redraw()
            ended.wait(self._interval_s)

    def _rows(self) -> int:
        """The rows that the line takes: more than one after the terminal was made narrower."""
        return max(math.ceil(self._drawn_cells / max(self._width(), 1)), 1)

    def _erase(self) -> None:
        if self._drawn_cells:
            up = self._rows() - 1
            with suppress(OSError, ValueError):  # the terminal is gone; the daemon goes on
                self.stream.write("\r" + (f"\x1b[{up}A" if up else "") + _ERASE_BELOW)
                self.stream.flush()

    def _draw(self) -> None:
        if self._drawn_cells:
            with suppress(OSError, ValueError):
                self.stream.write(self._drawn)
                self.stream.flush()

    def _terminal_width(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
