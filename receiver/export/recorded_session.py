"""The bodies of one session, as the `frames.jsonl` of an output directory names them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UsageError
from common.frames import MAX_FOCAL_PX, MIN_FOCAL_PX, Camera
from common.io.regular_file import open_regular
from common.text import printable
from common.wears import check_kinds
from receiver.publish.frame_record import mesh_path
from receiver.publish.session_records import file_stem, read_records

_MIN_STEP_S = 1e-3
# `frames.jsonl` has microseconds.
_SAME_TIME_S = 1e-5
_FALLBACK_STEP_S = 1 / 30
# A frame of a hundred people has a tenth of this.
_MAX_LINE_BYTES = 4_000_000
# Seconds since the epoch, in the year 5138: later ones cannot be times of an animation.
_MAX_TIME_S = 1e11


@dataclass(frozen=True, slots=True)
class BodyAt:
    """A published body.

    Args:
        time_s: since the beginning of the recording.
        path: of its file.
        legs_seen: whether a camera saw the left and the right leg.
    """

    time_s: float
    path: Path
    legs_seen: tuple[bool, bool] = (True, True)


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """The bodies of a session, or of a part of it.

    Args:
        people: bodies of each person, by identity, in order of time; nobody's list is empty.
        kinds: by identity what people wear, attribute → its likeliest value, as far as it was known at last.
        damaged_lines: number of lines of `frames.jsonl` that could not be read.
        file_stem: what files that are made of it are called.
        lens: of the camera that recorded it; None in records without one.
    """

    number: int
    people: Mapping[int, Sequence[BodyAt]]
    kinds: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    damaged_lines: int = 0
    file_stem: str = "session"
    lens: Camera | None = None

    def cut(self, from_s: float, to_s: float) -> "RecordedSession":
        """The part between two times, on a clock that starts at `from_s`. Raises UsageError if it has no body."""
        people = {
            person: [
                replace(body, time_s=max(body.time_s - from_s, 0.0))
                for body in bodies
                if from_s - _SAME_TIME_S <= body.time_s <= to_s + _SAME_TIME_S
            ]
            for person, bodies in self.people.items()
        }
        kept = {person: bodies for person, bodies in people.items() if bodies}
        if not kept:
            last_s = max(bodies[-1].time_s for bodies in self.people.values())
            raise UsageError(
                f"session {self.number} has no body between {from_s:g} s and {to_s:g} s: "
                f"its last one is at {last_s:.2f} s"
            )
        return replace(self, people=kept)

    def only(self, person: int) -> "RecordedSession":
        """The bodies of one person. Raises UsageError if there is nobody with this identity."""
        if person not in self.people:
            known = ", ".join(map(str, sorted(self.people)))
            raise UsageError(f"session {self.number} has nobody with the id {person}; it has {known}")
        return replace(self, people={person: self.people[person]})


@dataclass(slots=True)
class _Lines:
    """What the lines of `frames.jsonl` say: about one session, and the numbers of all."""

    numbers: set[int] = field(default_factory=set)
    captured_at: list[float] = field(default_factory=list)
    bodies: list[list[tuple[int, str | None, tuple[bool, bool]]]] = field(default_factory=list)
    kinds: dict[int, Mapping[str, str]] = field(default_factory=dict)
    damaged: int = 0
    source: str = ""
    lens: Camera | None = None


def read_session(directory: Path, number: int | None) -> RecordedSession:
    """Reads which bodies a session has.

    The beginning of the recording is the session's first frame. Where the sender's clock stood still or was set back,
    frames follow each other at the median interval.

    Args:
        number: of the session; None for the only one in the directory.

    Raises:
        UsageError: the directory has no such session, or the session has no skinned bodies.
    """
    if (directory / "meshes").is_symlink():
        raise UsageError(f"{directory / 'meshes'} is a link: put the folder that it leads to in its place")
    lines = _read_lines(directory, number)
    if number is None:
        if len(lines.numbers) != 1:
            raise UsageError(f"{directory} has {_sessions(lines.numbers)}: give --out {directory} and one of them")
        (number,) = lines.numbers
    elif number not in lines.numbers:
        raise UsageError(f"{directory} has no session {number}; it has {_sessions(lines.numbers)}")
    people: dict[int, list[BodyAt]] = {}
    for time_s, bodies in zip(_times_s(lines), lines.bodies, strict=True):
        for person, path, legs_seen in bodies:
            if path is not None:
                people.setdefault(person, []).append(BodyAt(time_s, directory / path, legs_seen))
    _check_bodies(number, lines, people)
    stem = file_stem(number, _name(directory, number), lines.source)
    return RecordedSession(number, people, lines.kinds, lines.damaged, stem, lines.lens)


def _name(directory: Path, number: int) -> str:
    """What somebody has called a session; empty where that cannot be read."""
    try:
        named = read_records(directory / "sessions.jsonl").sessions.get(number)
    except OSError:
        return ""
    return named.name if named else ""


def _read_lines(directory: Path, number: int | None) -> _Lines:
    lines = _Lines()
    path = directory / "frames.jsonl"
    try:
        with open_regular(path) as file:
            while line := file.readline(_MAX_LINE_BYTES):
                # A receiver that runs may be writing the last one.
                if line.endswith(b"\n"):
                    _add_line(lines, line, number)
                elif len(line) == _MAX_LINE_BYTES:
                    raise UsageError(f"{path} has a line of more than {_MAX_LINE_BYTES} bytes: no receiver wrote it")
    except FileNotFoundError as error:
        raise UsageError(f"{directory} is no output of a receiver, it has no frames.jsonl: give its --out") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return lines


def _add_line(lines: _Lines, line: bytes, number: int | None) -> None:
    try:
        record: Any = json.loads(line)
        session, captured_at = int(record["session"]), float(record["captured_at"])
        bodies = [
            (int(person["id"]), mesh_path(person["body"]), _legs_seen(person.get("seen", {})))
            for person in record["people"]
        ]
        lens = _lens(record["camera"]) if "camera" in record else None
        kinds = {
            int(person["id"]): _likeliest_kinds(person["wears"]) for person in record["people"] if "wears" in person
        }
        if not abs(captured_at) <= _MAX_TIME_S:
            raise ValueError("no such frame can have been captured")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        lines.damaged += 1
        return
    lines.numbers.add(session)
    if number is None or session == number:
        lines.captured_at.append(captured_at)
        lines.bodies.append(bodies)
        lines.kinds |= kinds
        lines.lens = lens or lines.lens
        lines.source = str(record.get("source", ""))


def _legs_seen(seen: Any) -> tuple[bool, bool]:
    return bool(seen.get("left_leg", True)), bool(seen.get("right_leg", True))


def _lens(camera: Any) -> Camera:
    lens = Camera(int(camera["width"]), int(camera["height"]), float(camera["focal_px"]))
    if not (lens.width > 0 and lens.height > 0 and MIN_FOCAL_PX <= lens.focal_px <= MAX_FOCAL_PX):
        raise ValueError("no camera has such a lens")
    return lens


def _likeliest_kinds(wears: Any) -> Mapping[str, str]:
    kinds = {str(name): str(value) for name, (value, _) in wears.items()}
    check_kinds(kinds)
    return kinds


def _times_s(lines: _Lines) -> list[float]:
    """Seconds since the first frame, strictly increasing."""
    steps = np.diff(np.array(lines.captured_at, np.float64))
    forward = steps >= _MIN_STEP_S
    usual = float(np.median(steps[forward])) if forward.any() else _FALLBACK_STEP_S
    times: list[float] = np.concatenate([[0.0], np.cumsum(np.where(forward, steps, usual))]).tolist()
    return times[: len(lines.captured_at)]


def _check_bodies(number: int, lines: _Lines, people: Mapping[int, Sequence[BodyAt]]) -> None:
    """Raises UsageError if there are no bodies, or plain meshes without a skeleton."""
    if not people:
        if not any(lines.bodies):
            raise UsageError(f"session {number} has {len(lines.bodies)} frames, which show nobody: nothing to export")
        raise UsageError(
            f"session {number} was recorded without bodies: record again without receiver --no-body, "
            "and with a --mesh-every that writes some frames"
        )
    suffixes = {body.path.suffix for bodies in people.values() for body in bodies}
    if ".glb" not in suffixes:
        found = printable(min(suffixes).removeprefix("."), 20)
        raise UsageError(
            f"session {number} was recorded with receiver --format {found}, whose bodies have no skeleton: "
            "record again with --format glb"
        )


def _sessions(numbers: Iterable[int]) -> str:
    """The numbers as text, with ranges: `the sessions 1-3, 7`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return f"the sessions {listed}" if listed else "no sessions"
