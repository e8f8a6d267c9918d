import io

import pytest
from rich.console import Console
from rich.text import Text

from common.io.status_line import StatusLine, bit_rate, clock_time, duration

PARTS = ("connected", "12.0 fps", "[yellow]9 B[/]", "日本")


def drawn(width: int, **environment: str) -> str:
    """What a terminal of this width gets."""
    surroundings = {"TERM": "xterm", **environment}
    console = Console(file=io.StringIO(), width=width, force_terminal=True, _environ=surroundings)
    with console.capture() as captured:
        console.print(StatusLine("sender", lambda: PARTS), end="")
    return captured.get().rstrip("\n")


def plain(ansi: str) -> str:
    return Text.from_ansi(ansi).plain


@pytest.mark.parametrize(
    ("width", "shown"),
    [(42, "sender  connected | 12.0 fps | 9 B | 日本"), (25, "sender  connected | 12.0"), (1, "")],
)
def test_what_does_not_fit_is_cut_off(width: int, shown: str) -> None:
    assert plain(drawn(width)).rstrip() == shown


def test_colours_are_left_out_on_demand() -> None:
    assert "\x1b[33m9 B" in drawn(80) and "\x1b[33m" not in drawn(80, NO_COLOR="1")


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
    ],
)
def test_numbers_as_text(shown: str, expected: str) -> None:
    assert shown == expected
