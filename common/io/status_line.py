"""The sender's status line: figures of the last seconds, below what is written to the terminal; rich draws it."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

_DRAWN_PER_SECOND = 2


@dataclass(frozen=True, slots=True)
class StatusLine:
    """The parts of a status line, in rich's markup; what does not fit the terminal is cut off at the end."""

    program: str
    parts: Callable[[], Iterable[str]]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        line = Text.from_markup(f"[bold]{escape(self.program)}  [/]" + " | ".join(self.parts()))
        # The last column stays free: some terminals wrap as soon as it is written.
        line.truncate(options.max_width - 1)
        line.no_wrap = True
        yield line


class DaemonConsole(Console):
    """A terminal whose cursor stays visible: a daemon that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


@contextmanager
def showing(lines: RenderableType, console: Console | None) -> Iterator[None]:
    """Shows status lines during the block, and erases them at the end; without a console, does nothing."""
    if console is None:
        yield
        return
    live = Live(
        lines,
        console=console,
        refresh_per_second=_DRAWN_PER_SECOND,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=False,
    )
    live.start()
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal is gone
            live.stop()


def clock_time(seconds: float) -> str:
    """`0:08`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(max(math.ceil(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bit_rate(bits_per_second: float) -> str:
    """`9.8 kbit/s`, `12 Mbit/s`."""
    value, unit = bits_per_second / 1e3, "kbit/s"
    if value >= 1e3:
        value, unit = value / 1e3, "Mbit/s"
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def duration(milliseconds: float) -> str:
    """`87 ms`, `1.4 s`, `12:30`."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1e3:.1f} s" if milliseconds < 60_000 else clock_time(milliseconds / 1e3)
