"""What is in the directory of a receiver, and what is not as its senders were told."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import BodywireError, RecordingError
from common.recording.format import RecordedFrame
from common.recording.reader import Recording
from tests.netlab.faults.durable_sender import captured_at

FAULTS = ("lost", "doubled", "misplaced", "wrong")


class FaultFound(BodywireError):
    """Something is not as it has to be."""


Record = tuple[int, float]
"""Sequence and capture time of a frame."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Sequences of frames with faults in their records.

    Args:
        lost: promised, and without a record.
        doubled: with more than one record.
        misplaced: recorded after a later one.
        wrong: with the record of another frame.
    """

    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    def counts(self) -> list[int]:
        return [len(getattr(self, name)) for name in FAULTS]


def audit(promised: Sequence[int], records: Sequence[Record]) -> Faults:
    """Compares the records of a session, in order, with the sequences that must be recorded."""
    counts = Counter(sequence for sequence, _ in records)
    return Faults(
        lost=sorted(set(promised) - counts.keys()),
        doubled=sorted(sequence for sequence, count in counts.items() if count > 1),
        misplaced=[after for (before, _), (after, _) in pairwise(records) if after < before],
        wrong=[sequence for sequence, time_s in records if abs(time_s - captured_at(sequence)) > 0.002],
    )


def records_in(out: Path, session: str) -> list[Record]:
    """The frame records of a session in a receiver's directory, in order; an incomplete last line is ignored.

    A record whose mesh is not there, or not whole, has the capture time −1; and so has a line that is none.
    """
    numbers = [row.get("session") for row in rows_in(out / "sessions.jsonl") if row.get("id") == session]
    rows = (row for row in rows_in(out / "frames.jsonl") if not row or row["session"] in numbers)
    return [(row.get("seq", -1), row["captured_at"] if row and _has_meshes(out, row) else -1.0) for row in rows]


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; empty for one that is no JSON. An incomplete last line is ignored."""
    lines = path.read_text("utf-8", "replace").split("\n")[:-1] if path.exists() else []
    return [_row(line) for line in lines]


def _row(line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return row


def _has_meshes(out: Path, row: dict[str, Any]) -> bool:
    """Whether the files of a record are as long as they say."""
    heads = (out / person["surface"] for person in row.get("people", ()) if person.get("surface"))
    return all(_is_whole(path) for path in heads)


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "little") == path.stat().st_size


def wrong_in_recordings(folder: Path) -> list[int]:
    """Sequences of packets in recordings that are not those of their time."""
    wrong = []
    for path in folder.glob("*.bw"):
        try:
            with Recording(path) as recording:
                frames = [each for each in recording.read() if isinstance(each, RecordedFrame)]
        except RecordingError:
            continue  # of a process that was killed before the first block was written
        wrong += [each.sequence for each in frames if abs(each.captured_us / 1e6 - captured_at(each.sequence)) > 0.002]
    return wrong
