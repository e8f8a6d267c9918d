"""The content of a status line: figures of a daemon, as many as fit the width of the terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

_BAR_CELLS = 20


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
class Symbols:
    """Characters of the line, which not every terminal has."""

    separator: str
    full: str
    empty: str


UNICODE, ASCII = Symbols(" · ", "━", "─"), Symbols(" | ", "#", "-")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a source of known length is.

    Args:
        done, total: numbers of frames; `done` may exceed `total`, which is an estimate.
        left_s: about how long the rest takes; None while that is unknown.
    """

    done: int
    total: int
    left_s: float | None

    def parts(self, symbols: Symbols) -> list[Part]:
        """A bar, the frames, and the time left."""
        share = min(self.done / max(self.total, 1), 1.0)
        full = math.floor(share * _BAR_CELLS)
        found = [
            Part(f"{self.done}/{max(self.total, self.done)} frames", 0),
            Part(symbols.full * full + symbols.empty * (_BAR_CELLS - full), 6, "green"),
        ]
        return found if self.left_s is None else [*found, Part(f"{clock_time(self.left_s)} left", 1)]


def status_text(program: str, parts: Sequence[Part], width: int, symbols: Symbols = UNICODE) -> Text:
    """A line of at most `width` cells; empty if not even the most important part fits."""
    kept = list(parts)
    while kept and _cells(program, kept, symbols) > width:
        kept.remove(max(kept, key=lambda part: part.rank))
    text = Text(no_wrap=True)
    for number, part in enumerate(kept):
        text.append(symbols.separator if number else f"{program}  ", "dim" if number else "bold")
        text.append(part.text, part.style)
    return text


def _cells(program: str, parts: Sequence[Part], symbols: Symbols) -> int:
    gaps = cell_len(program) + 2 + (len(parts) - 1) * cell_len(symbols.separator)
    return gaps + sum(cell_len(part.text) for part in parts)


def clock_time(seconds: float) -> str:
    """`0:08`, `12:30`, `1:02:03`."""
    whole = max(math.ceil(seconds), 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def bit_rate(bits_per_second: float) -> str:
    """`9.8 kbit/s`, `12 Mbit/s`."""
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits_per_second >= size or unit == "kbit/s":
            value = bits_per_second / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    raise AssertionError("the last unit takes every rate")


def duration(milliseconds: float) -> str:
    """`87 ms`, `1.4 s`, `12:30`."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1e3:.1f} s" if milliseconds < 60_000 else clock_time(milliseconds / 1e3)


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 session`, `2 sessions`, `3 people`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
