"""Reads a recorded session: its lines, people and times.

A part of a long session is exported in the time of the part: of the other lines only the beginning is looked at.

The times of a session's frames, and when people are there.

Shapes: N frames of a session, K frames that show a person.
"""

import json
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.arrays import Float64Array, IntArray
from common.clock import BridgedTimes
from common.errors import UsageError
from common.frames import MAX_FOCAL_PX, MIN_FOCAL_PX, Camera
from common.io.files import open_regular
from common.text import counted, printable
from common.wears import check_kinds
from receiver.publish.frame_record import mesh_path
from receiver.publish.session_records import (
    ALBUM,
    DAMAGES,
    SessionState,
    file_stem,
    head_of_line,
    is_album,
    read_records,
    whole,
    without_people,
)

# A frame of a hundred people has a tenth of this.
_MAX_LINE_BYTES = 4_000_000
# Seconds since the epoch, in the year 5138: later ones cannot be times of an animation.
_MAX_TIME_S = 1e11


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
            head = head_of_line(line)
            if head is None or abs(head.captured_at) > _MAX_TIME_S:
                lines.damaged += 1
            else:
                lines.numbers.add(head.session)
                if number in (None, head.session):
                    lines.sequences.append(head.seq)
                    lines.captured_at.append(head.captured_at)
                    lines.offsets.append(offset)
        elif len(line) == _MAX_LINE_BYTES:
            raise UsageError(f"{path} has a line of more than {_MAX_LINE_BYTES} bytes: no receiver wrote it")
        offset += len(line)
    return lines


GAP_S = 0.25
"""A person whom no frame shows for longer was away: what is before and behind does not belong together."""

Interval = tuple[float, float]
"""From, and until: seconds; until infinity, if nothing ends it."""

# A camera or a link that gives no frames for so long, and for so many usual intervals, shows nobody.
_SILENT_S, _SILENT_INTERVALS = 1.0, 3
_MIN_STEP_S = 1e-3
_FALLBACK_STEP_S = 1 / 30
# Share of the median interval within which others are usual.
_USUAL = 0.5


@dataclass(frozen=True, slots=True)
class MediaTimes:
    """When frames were captured.

    Args:
        times_s: (N,) since the first one, strictly increasing.
        usual_s: the median time from one to the next.
        set_s: by how many seconds the clock was set, each time.
    """

    times_s: Float64Array
    usual_s: float = _FALLBACK_STEP_S
    set_s: Sequence[float] = ()


def media_times(captured_at: Iterable[float]) -> MediaTimes:
    """The times of frames, in order, by their times of capture.

    Frames follow each other at the usual interval where the sender's clock was set, or stood still.

    Args:
        captured_at: (N,) seconds since the epoch.
    """
    bridged = BridgedTimes(_FALLBACK_STEP_S)
    pairs = (each for captured_s in captured_at for each in (bridged.following(captured_s), bridged.shift_s))
    steps_s, shifts_s = np.diff(np.fromiter(pairs, np.float64).reshape(-1, 2), axis=0).T
    usual = (steps_s >= _MIN_STEP_S) & (shifts_s == 0)
    usual_s = float(np.median(steps_s[usual])) if usual.any() else _FALLBACK_STEP_S
    times_s = np.concatenate([[0.0], np.cumsum(np.where(usual, steps_s, usual_s))])
    return MediaTimes(times_s, usual_s, (-shifts_s[shifts_s != 0]).tolist())


def frame_rate(times_s: Float64Array) -> float:
    """Frames a second by the mean of usual intervals, a whole number from 1 on; 30 for a single frame.

    Args:
        times_s: (N,) strictly increasing.
    """
    if len(times_s) < 2:
        return 1 / _FALLBACK_STEP_S
    steps_s = np.sort(np.diff(times_s))
    # Times of capture are in milliseconds: of 60 frames a second, most intervals are 17 ms.
    rate = 1 / float(steps_s[np.abs(steps_s / steps_s[len(steps_s) // 2] - 1) <= _USUAL].mean())
    return float(round(rate)) if rate >= 1 else rate


def presence(times_s: Float64Array, rows: IntArray, usual_s: float) -> list[Interval]:
    """When a person is there, in order.

    Args:
        times_s: (N,) of all frames.
        rows: (K,) of those that show the person.
        usual_s: from one frame to the next.
    """
    steps_s, silent_s = np.diff(times_s[rows]), max(_SILENT_S, _SILENT_INTERVALS * usual_s)
    away = np.flatnonzero(((np.diff(rows) > 1) & (steps_s > GAP_S)) | (steps_s > silent_s))
    firsts, lasts = rows[[0, *(away + 1)]].tolist(), rows[[*away, -1]].tolist()

    def end_s(last: int) -> float:
        if last == len(times_s) - 1:
            return math.inf
        following_s = float(times_s[last + 1])
        return following_s if following_s - times_s[last] <= silent_s else float(times_s[last]) + usual_s

    return [(float(times_s[first]) if first else 0.0, end_s(last)) for first, last in zip(firsts, lasts, strict=True)]


# `frames.jsonl` has microseconds.
_SAME_TIME_S = 1e-5
_SAME_FRAME = 1e-3
_MOST_IDENTITY = 255
# Of who comes later, nothing is written of the time before.
_STILL_S = 10.0
# Nine hours at 30 frames a second, which take 16 GB.
_MAX_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class BodyAt:
    """A published body.

    Args:
        time_s: since the beginning of the recording, or of the part of it.
        path: of its file.
        legs_seen: whether a camera saw the left and the right leg.
        frame: the number of its frame in the session.
    """

    time_s: float
    path: Path
    legs_seen: tuple[bool, bool] = (True, True)
    frame: int = 0


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """The bodies of a session, or of a part of it.

    Args:
        people: bodies of each person, by identity, in order of time; nobody's list is empty.
        present: by identity when people are there.
        kinds: by identity what people wear, attribute → its likeliest value, as far as it was known at last.
        damaged_lines: number of lines of `frames.jsonl` that could not be read.
        set_s: by how many seconds the sender's clock was set, each time: times go on as before.
        file_stem: what files that are made of it are called.
        lens: of the camera that recorded it; None in records without one.
        timely: no filter delays its labels.
        frame_rate: frames a second of the person who has the most.
    """

    number: int
    people: Mapping[int, Sequence[BodyAt]]
    present: Mapping[int, Sequence[Interval]] = field(default_factory=dict)
    kinds: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    damaged_lines: int = 0
    set_s: Sequence[float] = ()
    file_stem: str = "session"
    lens: Camera | None = None
    timely: bool = False
    frame_rate: float = 30.0

    def first_frame(self, person: int) -> int:
        """The frame, at `frame_rate`, with which a person's own file begins: 0, or their first one if that is late."""
        first_s = self.people[person][0].time_s
        # One that is at the very beginning of a frame must not be lost to rounding.
        return int(first_s * self.frame_rate + _SAME_FRAME) if first_s > _STILL_S else 0

    def only(self, person: int) -> "RecordedSession":
        """The bodies of one person. Raises UsageError if there is nobody with this identity."""
        if person not in self.people:
            known = ", ".join(map(str, sorted(self.people)))
            raise UsageError(f"this part of session {self.number} has nobody with the id {person}; it has {known}")
        return replace(self, people={person: self.people[person]})


@dataclass(slots=True)
class _Frames:
    """What the lines of a part of a session say: when frames are, and of each person which of them, and the bodies."""

    times_s: "array[float]" = field(default_factory=lambda: array("d"))
    rows: dict[int, "array[int]"] = field(default_factory=dict)
    people: dict[int, list[BodyAt]] = field(default_factory=dict)
    kinds: dict[int, Mapping[str, str]] = field(default_factory=dict)
    source: str = ""
    lens: Camera | None = None


@dataclass(frozen=True, slots=True)
class PartRead:
    """What was read of a session, or of a part of it.

    Args:
        times: of all of its frames.
        damaged_lines: number of lines that could not be read.
        state: its line of `sessions.jsonl`; None where that cannot be read.
        album: whether its frames are pictures of their own.
    """

    number: int
    times: MediaTimes
    damaged_lines: int
    state: SessionState | None
    album: bool = False

    def file_stem(self, source: str) -> str:
        """What files that are made of it are called."""
        return file_stem(self.number, self.state.name if self.state else "", ALBUM if self.album else source)


def read_part(
    directory: Path, number: int | None, from_s: float, to_s: float, add: Callable[[Any, int, float], None]
) -> PartRead:
    """Gives each line of a session between two times to `add`: what it says, the frame's number and time.

    Args:
        number: of the session; None for the only one in the directory.
        from_s, to_s: since the session's first frame; the times that `add` gets begin with the first of them.
        add: adds all or nothing of a line, and raises one of `DAMAGES` if that is damaged.

    Raises:
        UsageError: the directory has no such session.
    """
    if (directory / "meshes").is_symlink():
        raise UsageError(f"{directory / 'meshes'} is a link: put the folder that it leads to in its place")
    path = directory / "frames.jsonl"
    try:
        with open_regular(path) as file:
            lines = find_lines(path, file, number)
            number = _checked_number(directory, number, lines.numbers)
            state, sources = _record(directory, number), [""]
            lines.hidden = state.hidden if state else ()
            times = media_times(lines.captured_at)
            edges_s = from_s - _SAME_TIME_S, to_s + _SAME_TIME_S
            first, end = np.searchsorted(times.times_s, edges_s).tolist()
            if end - first > _MAX_FRAMES:
                raise UsageError(f"more than {_MAX_FRAMES} frames fit no export: choose a part with --from and --to")
            for row in range(first, end):
                time_s = max(float(times.times_s[row]) - from_s, 0.0)
                try:
                    record = lines.record(file, row)
                    add(record, lines.sequences[row], time_s)
                    if record.get("source") != sources[-1]:
                        sources.append(record.get("source"))
                except DAMAGES:
                    lines.damaged += 1
    except FileNotFoundError as error:
        raise UsageError(f"{directory} is no output of a receiver, it has no frames.jsonl: give its --out") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return PartRead(number, times, lines.damaged, state, is_album(end - first, len(sources) - 1))


def read_session(directory: Path, number: int | None, from_s: float = 0.0, to_s: float = math.inf) -> RecordedSession:
    """Reads which bodies a session has between two times, on a clock that starts at the first of them.

    Args:
        number, from_s, to_s: as of `read_part`.

    Raises:
        UsageError: the directory has no such session, or this part of it has no skinned bodies.
    """
    frames = _Frames()

    def add(record: Any, sequence: int, time_s: float) -> None:
        _add_line(frames, record, sequence, time_s, directory)

    part = read_part(directory, number, from_s, to_s, add)
    number, times = part.number, part.times
    if not frames.people and (from_s > 0 or math.isfinite(to_s)):
        last_s = f"its last frame is at {times.times_s[-1]:.2f} s"
        raise UsageError(f"session {number} has no body between {from_s:g} s and {to_s:g} s: {last_s}")
    _check_bodies(number, frames)
    times_s = np.array(frames.times_s)
    return RecordedSession(
        number,
        frames.people,
        {person: presence(times_s, np.array(frames.rows[person]), times.usual_s) for person in frames.people},
        frames.kinds,
        part.damaged_lines,
        times.set_s,
        part.file_stem(frames.source),
        frames.lens,
        part.state is not None and part.state.timely,
        frame_rate(np.unique([body.time_s for body in max(frames.people.values(), key=len)])),
    )


def _checked_number(directory: Path, number: int | None, known: set[int]) -> int:
    """The number of the session that was asked for. Raises UsageError if there is none."""
    if number is None:
        if len(known) != 1:
            raise UsageError(f"{directory} has {_sessions(known)}: give --out {directory} and one of them")
        return min(known)
    if number not in known:
        raise UsageError(f"{directory} has no session {number}; it has {_sessions(known)}")
    return number


def _record(directory: Path, number: int) -> SessionState | None:
    """A session's line of `sessions.jsonl`; None where it cannot be read."""
    try:
        return read_records(directory / "sessions.jsonl").sessions.get(number)
    except OSError:
        return None


def _add_line(frames: _Frames, record: Any, sequence: int, time_s: float, directory: Path) -> None:
    """Adds what a line says, all or nothing. Raises one of `DAMAGES`."""
    bodies = [
        (whole(person["id"], _MOST_IDENTITY), mesh_path(person["body"]), _legs_seen(person.get("seen", {})))
        for person in record["people"]
    ]
    lens = _lens(record["camera"]) if "camera" in record else None
    kinds = {int(person["id"]): _likeliest_kinds(person["wears"]) for person in record["people"] if "wears" in person}
    for person, path, legs_seen in bodies:
        frames.rows.setdefault(person, array("q")).append(len(frames.times_s))
        if path is not None:
            frames.people.setdefault(person, []).append(BodyAt(time_s, directory / path, legs_seen, sequence))
    frames.times_s.append(time_s)
    frames.kinds |= kinds
    frames.lens = lens or frames.lens
    frames.source = str(record.get("source", ""))


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


def _check_bodies(number: int, frames: _Frames) -> None:
    """Raises UsageError if there are no bodies, or plain meshes without a skeleton."""
    if not frames.people:
        if not frames.rows:
            shown = counted(len(frames.times_s), "frame, which shows", "frames, which show")
            raise UsageError(f"session {number} has {shown} nobody: nothing to export")
        raise UsageError(
            f"session {number} was recorded without bodies: record again without receiver --meshes surfaces, "
            "and with a --mesh-every that writes some frames"
        )
    suffixes = {body.path.suffix for bodies in frames.people.values() for body in bodies}
    if not suffixes & {".gltf", ".glb"}:
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
