"""The status line of a daemon: figures of the last seconds, below what is written to the terminal; rich draws it."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

_DRAWN_PER_SECOND = 2
_BAR_CELLS = 20
_IN_ASCII = str.maketrans("·━─", "|#-")


@dataclass(frozen=True, slots=True)
class Part:
    """A figure of a status line.

    Args:
        text: with its unit.
        rank: of the parts that do not fit, the ones of the highest rank are left out first.
        style: of rich, such as `yellow`; empty for none.
    """

    text: str
    rank: int
    style: str = ""


@dataclass(frozen=True, slots=True)
class StatusLine:
    """As many parts as fit the terminal."""

    program: str
    parts: Callable[[], Sequence[Part]]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        kept = list(self.parts())
        # The last column stays free: some terminals wrap as soon as it is written.
        while kept and self._text(kept).cell_len >= options.max_width:
            kept.remove(max(kept, key=lambda part: part.rank))
        text = self._text(kept) if kept else Text()
        if options.ascii_only:
            text.plain = text.plain.translate(_IN_ASCII)
        yield text

    def _text(self, parts: Sequence[Part]) -> Text:
        text = Text.assemble((f"{self.program}  ", "bold"), no_wrap=True)
        for number, part in enumerate(parts):
            text.append(" · " if number else "", "dim").append(part.text, part.style)
        return text


class DaemonConsole(Console):
    """A terminal whose cursor stays visible: a daemon that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


@contextmanager
def showing(line: StatusLine, console: Console | None) -> Iterator[None]:
    """Shows a status line during the block, and erases it at the end; without a console, does nothing."""
    if console is None:
        yield
        return
    live = Live(
        line,
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


def progress(done: int, total: int, left_s: float | None) -> Iterator[Part]:
    """A bar, the frames, and the time left.

    Args:
        done, total: numbers of frames; `done` may exceed `total`, which is an estimate.
        left_s: about how long the rest takes; None while that is unknown.
    """
    full = math.floor(min(done / max(total, 1), 1.0) * _BAR_CELLS)
    yield Part(f"{done}/{max(total, done)} frames", 0)
    yield Part("━" * full + "─" * (_BAR_CELLS - full), 6, "green")
    if left_s is not None:
        yield Part(f"{clock_time(left_s)} left", 1)


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


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 session`, `2 sessions`, `3 people`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
