"""A terminal of few abilities: what a user would see of a program's output."""

import re

_CONTROL = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Rows of text; understands carriage return, line feed, cursor up, erase below and colours, and nothing else.

    Args:
        width: in cells; longer rows wrap, as on most terminals.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [""]
        self.styles: set[str] = set()
        self._row = self._column = 0

    def feed(self, output: str) -> None:
        """Shows output; raises ValueError for a control sequence that it does not understand."""
        position = 0
        while position < len(output):
            match = _CONTROL.match(output, position)
            if match is None:
                raise ValueError(f"unknown control sequence {output[position : position + 10]!r}")
            position = match.end()
            if match[2] is not None:
                self._control(match[1], match[2])
            elif match[3] == "\r":
                self._column = 0
            elif match[3] == "\n":
                self._feed_line()
            else:
                for character in match[4]:
                    self._put(character)

    def resize(self, width: int) -> None:
        """Changes the width; the row of the cursor is wrapped anew, as terminals with reflow do."""
        text = self.rows[self._row]
        self.width = width
        pieces = [text[start : start + width] for start in range(0, len(text), width)] or [""]
        self.rows[self._row : self._row + 1] = pieces
        self._row += len(pieces) - 1
        self._column = len(pieces[-1])

    def _control(self, arguments: str, kind: str) -> None:
        if kind == "m":
            self.styles.add(arguments)
        elif kind == "A":
            self._row = max(self._row - int(arguments or 1), 0)
        elif kind == "J" and arguments in ("", "0"):
            self.rows[self._row] = self.rows[self._row][: self._column]
            del self.rows[self._row + 1 :]
        else:
            raise ValueError(f"unknown control sequence {arguments}{kind}")

    def _feed_line(self) -> None:
        self._row += 1
        if self._row == len(self.rows):
            self.rows.append("")

    def _put(self, character: str) -> None:
        if self._column == self.width:
            self._column = 0
            self._feed_line()
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
        self._column += 1
