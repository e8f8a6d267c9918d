import io

import pytest
from rich.console import Console
from rich.text import Text

from common.io.status_line import Part, StatusLine, bit_rate, clock_time, counted, duration, progress

PARTS = [Part("connected", 4), Part("12.0 fps", 1), Part("9 B", 2, "yellow"), Part("日本", 5)]


class Terminal(io.TextIOWrapper):
    """A terminal in memory; `encoding`: what it can show."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)


def drawn(width: int, *, encoding: str = "utf-8", **environment: str) -> str:
    """What a terminal of this width gets."""
    surroundings = {"TERM": "xterm", **environment}
    console = Console(file=Terminal(encoding), width=width, force_terminal=True, _environ=surroundings)
    with console.capture() as captured:
        console.print(StatusLine("sender", lambda: PARTS), end="")
    return captured.get().rstrip("\n")


def plain(ansi: str) -> str:
    return Text.from_ansi(ansi).plain


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (42, "sender  connected · 12.0 fps · 9 B · 日本"),
        (41, "sender  connected · 12.0 fps · 9 B"),
        (34, "sender  12.0 fps · 9 B"),
        (22, "sender  12.0 fps"),
        (16, ""),
        (1, ""),
    ],
)
def test_parts_of_high_rank_are_left_out(width: int, shown: str) -> None:
    assert plain(drawn(width)) == shown


def test_symbols_that_the_terminal_can_show() -> None:
    assert plain(drawn(41, encoding="iso-8859-1")) == "sender  connected | 12.0 fps | 9 B"


def test_colours_are_left_out_on_demand() -> None:
    assert "\x1b[33m9 B" in drawn(80) and "\x1b[33m" not in drawn(80, NO_COLOR="1")


def test_progress() -> None:
    texts = [part.text for part in progress(150, 300, 61.2)]
    assert texts == ["150/300 frames", "━" * 10 + "─" * 10, "1:02 left"]
    assert [part.text for part in progress(12, 10, None)] == ["12/12 frames", "━" * 20], "an estimated length"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (bit_rate(0), "0.0 kbit/s"),
        (bit_rate(9_800), "9.8 kbit/s"),
        (bit_rate(12_300_000), "12 Mbit/s"),
        (duration(87.4), "87 ms"),
        (duration(1400), "1.4 s"),
        (duration(61_000), "1:01"),
        (clock_time(0.2), "0:01"),
        (clock_time(3723), "1:02:03"),
        (counted(1, "person", "people"), "1 person"),
        (counted(1234, "mesh", "meshes"), "1,234 meshes"),
        (counted(0, "session"), "0 sessions"),
    ],
)
def test_numbers_as_text(shown: str, expected: str) -> None:
    assert shown == expected
