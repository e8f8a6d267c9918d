import io
import logging
from collections.abc import Iterator

import pytest
from rich.text import Text

from common.io.logs import TerminalHandler
from common.io.status_line import ASCII, UNICODE, Symbols
from common.io.terminal import Terminal, is_interactive
from tests.support.screen import Screen


class FakeStream(io.StringIO):
    """A terminal in memory."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class BrokenStream(FakeStream):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError("Input/output error")


class Shown:
    """A terminal whose width and status line the test sets, and what one sees on it."""

    def __init__(self, width: int = 40, environment: dict[str, str] | None = None) -> None:
        self.width, self.content = width, "3 sessions"
        self.stream, self.screen = FakeStream(), Screen(width)
        self.terminal = Terminal(
            self.stream, live=True, environment=environment or {}, width=lambda: self.width, interval_s=3600.0
        )

    def render(self, width: int, symbols: Symbols) -> Text:
        return Text(self.content[:width], "yellow")

    @property
    def rows(self) -> list[str]:
        self.screen.feed(self.stream.getvalue().replace("\n", "\r\n"))
        self.stream.seek(0)
        self.stream.truncate()
        return self.screen.rows

    def log(self, text: str) -> None:
        with self.terminal.above():
            self.stream.write(text + "\n")


@pytest.fixture
def shown() -> Iterator[Shown]:
    shown = Shown()
    with shown.terminal.showing(shown.render):
        shown.terminal.redraw()
        yield shown


def test_lines_scroll_above_the_status_line(shown: Shown) -> None:
    assert shown.rows == ["3 sessions"]
    shown.terminal.redraw()
    assert shown.stream.getvalue() == "", "the same content is not written again"
    shown.log("a first line")
    shown.log("a second line, which is longer than the terminal is wide")
    shown.content = "4 sessions, which is longer"
    shown.terminal.redraw()
    shown.content = "4 sessions"
    shown.terminal.redraw()
    logger = logging.Logger("x")
    logger.addHandler(TerminalHandler(shown.terminal))
    logger.warning("short")
    assert shown.rows == [
        "a first line",
        "a second line, which is longer than the ",
        "terminal is wide",
        "short",
        "4 sessions",
    ]


def test_line_is_erased_at_the_end_also_when_the_block_fails() -> None:
    shown = Shown()
    with pytest.raises(KeyboardInterrupt), shown.terminal.showing(shown.render):
        shown.terminal.redraw()
        shown.log("a record")
        raise KeyboardInterrupt
    shown.log("a summary")
    assert shown.rows == ["a record", "a summary", ""]


def test_terminal_that_becomes_narrower(shown: Shown) -> None:
    shown.content = "0123456789" * 3
    shown.log("before")
    shown.terminal.redraw()
    assert shown.rows == ["before", "0123456789" * 3]
    shown.screen.resize(16)
    shown.width = 16
    assert shown.rows == ["before", "0123456789012345", "67890123456789"]
    shown.terminal.redraw()
    assert shown.rows == ["before", "012345678901234"]
    shown.log("after")
    assert shown.rows == ["before", "after", "012345678901234"]


def test_a_terminal_without_cells(shown: Shown) -> None:
    shown.width = 0
    shown.terminal.redraw()
    shown.log("a record")
    assert shown.rows == ["a record", ""]


def test_colours_are_left_out_on_demand() -> None:
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)):
        shown = Shown(environment={"TERM": "xterm", **environment})
        with shown.terminal.showing(shown.render):
            shown.terminal.redraw()
            assert shown.rows == ["3 sessions"]
            assert ("33" in shown.screen.styles) is coloured


def test_symbols_that_the_stream_can_encode() -> None:
    class Latin(FakeStream):
        encoding = "iso-8859-1"

    for stream, expected in ((FakeStream(), UNICODE), (Latin(), ASCII)):
        used: set[Symbols] = set()

        def render(width: int, symbols: Symbols, used: set[Symbols] = used) -> Text:
            used.add(symbols)
            return Text("x")

        terminal = Terminal(stream, live=True, environment={}, width=lambda: 10, interval_s=3600.0)
        with terminal.showing(render):
            terminal.redraw()
        assert used == {expected}


def test_a_terminal_that_is_gone_does_not_matter() -> None:
    terminal = Terminal(BrokenStream(), live=True, environment={}, width=lambda: 20, interval_s=3600.0)
    with terminal.showing(lambda width, symbols: Text("x")):
        terminal.redraw()
        with terminal.above():
            pass


def test_what_is_interactive() -> None:
    assert is_interactive(FakeStream(), {"TERM": "xterm"})
    assert not is_interactive(FakeStream(), {"TERM": "dumb"}) and not is_interactive(FakeStream(), {})
    assert not is_interactive(io.StringIO(), {"TERM": "xterm"})
    closed = io.StringIO()
    closed.close()
    assert not is_interactive(closed, {"TERM": "xterm"})
