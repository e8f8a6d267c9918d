"""What is on disk, for scrubbing back: a growing index of `frames.jsonl`, and pages of its lines.

The index has the place of each line in the file. It is extended by what was appended since, a few megabytes at a time,
whenever it is asked; 17 bytes per frame stay in memory.
"""

import bisect
import json
import re
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_LINE_HEAD = re.compile(rb'\{"seq":(\d{1,16}),"session":(\d{1,9}),')
_CHUNK_BYTES = 4 << 20


@dataclass(slots=True)
class _SessionLines:
    """Sequence number and position in the file of each line of a session, in the order of the file.

    Args:
        checked: a byte each, 1 once the line was seen to be JSON of a frame: to parse it takes ten times as long as to
            read it.
    """

    sequences: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    checked: bytearray = field(default_factory=bytearray)


class RecordedFrames:
    """Reads the lines of an output directory, none if the file is missing; safe to use from several threads.

    Args:
        generation: another number when the file was replaced; one that has shrunk was, too.
    """

    def __init__(self, out: Path, generation: Callable[[], int] = lambda: 0) -> None:
        self._path = out / "frames.jsonl"
        self._lock = threading.Lock()
        self._generation, self._read_of = generation, generation()
        self._read_bytes = 0
        self._sessions: dict[int, _SessionLines] = {}

    def page(self, session: int, after: int, limit: int) -> list[bytes]:
        """The lines of a session behind sequence number `after`, at most `limit`, each with JSON. Raises OSError."""
        while True:
            with self._lock:
                generation = self._generation()
                self._extend(generation)
                lines = self._sessions.get(session) or _SessionLines()
                first = bisect.bisect_right(lines.sequences, after)
                places = range(first, min(first + limit, len(lines.offsets)))
            found = list(self._lines_at(lines, places))
            if self._generation() == generation:
                return found

    def _extend(self, generation: int) -> None:
        """Indexes what was appended; a file that was replaced is read anew."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read_bytes or generation != self._read_of:
            self._read_bytes, self._read_of = 0, generation
            self._sessions.clear()
        if size == self._read_bytes:
            return
        with open(self._path, "rb") as file:
            file.seek(self._read_bytes)
            rest = b""
            while chunk := file.read(_CHUNK_BYTES):
                # A last line without its newline is still being written.
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                self._index(whole + newline)

    def _index(self, whole_lines: bytes) -> None:
        offset = self._read_bytes
        for line in whole_lines.splitlines(keepends=True):
            if match := _LINE_HEAD.match(line):
                lines = self._sessions.setdefault(int(match[2]), _SessionLines())
                lines.sequences.append(int(match[1]))
                lines.offsets.append(offset)
                lines.checked.append(0)
            offset += len(line)
        self._read_bytes = offset

    def _lines_at(self, lines: _SessionLines, places: range) -> Iterator[bytes]:
        if not places:
            return
        with open(self._path, "rb") as file:
            for place in places:
                file.seek(lines.offsets[place])
                line = file.readline()
                if not lines.checked[place]:
                    lines.checked[place] = _is_frame(line)
                if lines.checked[place]:
                    yield line.strip()


def _is_frame(line: bytes) -> bool:
    """Whether a line is the JSON of a frame: somebody may have edited it."""
    with suppress(ValueError, RecursionError, AttributeError):
        return isinstance(json.loads(line, parse_constant=_refuse).get("people"), list)
    return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not of JSON")
