"""Finds the lines of a session in `frames.jsonl`.

A part of a long session is exported in the time of the part: of the other lines only the beginning is looked at.
"""

import json
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import UsageError
from receiver.publish.session_records import DAMAGES, MOST_SEQUENCE, MOST_SESSION, without_people
from receiver.publish.session_statistics import whole

# A frame of a hundred people has a tenth of this.
_MAX_LINE_BYTES = 4_000_000
# Seconds since the epoch, in the year 5138: later ones cannot be times of an animation.
_MAX_TIME_S = 1e11
_HEAD = re.compile(
    rb'\{"seq": ?(\d{1,16}), ?"session": ?(\d{1,9}), ?"source": ?"(?:[^"\\]|\\.)*", ?'
    rb'"captured_at": ?(\d{1,11}\.\d{1,9}),'
)


@dataclass(slots=True)
class FrameLines:
    """The lines of one session, and the numbers of all.

    Args:
        sequences, captured_at, offsets: of each frame its number, its time, and where its line begins.
        damaged: number of lines that could not be read.
        hidden: identities of those whom somebody has taken out of the session.
    """

    numbers: set[int] = field(default_factory=set)
    sequences: "array[int]" = field(default_factory=lambda: array("q"))
    captured_at: "array[float]" = field(default_factory=lambda: array("d"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    damaged: int = 0
    hidden: Sequence[int] = ()

    def record(self, file: BinaryIO, row: int) -> Any:
        """What the line of a frame says, but for who is hidden. Raises one of `DAMAGES` if it is damaged."""
        file.seek(self.offsets[row])
        return without_people(json.loads(file.readline(_MAX_LINE_BYTES)), self.hidden)


def find_lines(path: Path, file: BinaryIO, number: int | None) -> FrameLines:
    """Finds the lines of a session, of all without a number. Raises UsageError if no receiver wrote the file."""
    lines, offset = FrameLines(), 0
    while line := file.readline(_MAX_LINE_BYTES):
        # A receiver that runs may be writing the last one.
        if line.endswith(b"\n"):
            try:
                sequence, session, captured_at = _head(line)
            except DAMAGES:
                lines.damaged += 1
            else:
                lines.numbers.add(session)
                if number in (None, session):
                    lines.sequences.append(sequence)
                    lines.captured_at.append(captured_at)
                    lines.offsets.append(offset)
        elif len(line) == _MAX_LINE_BYTES:
            raise UsageError(f"{path} has a line of more than {_MAX_LINE_BYTES} bytes: no receiver wrote it")
        offset += len(line)
    return lines


def _head(line: bytes) -> tuple[int, int, float]:
    """Number, session and time of capture of a frame. Raises one of `DAMAGES`."""
    found = _HEAD.match(line)
    if found:
        sequence, session, captured_at = found.groups()
    else:
        record = json.loads(line)
        sequence, session, captured_at = record["seq"], record["session"], record["captured_at"]
    time_s = float(captured_at)
    if not abs(time_s) <= _MAX_TIME_S:
        raise ValueError("no such frame can have been captured")
    return whole(sequence, MOST_SEQUENCE), whole(session, MOST_SESSION), time_s
