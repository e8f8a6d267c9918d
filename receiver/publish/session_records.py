"""What is known of sessions: their lines and index, statistics, who uses them, and which files are theirs.

What a receiver's directory records about its sessions.

    sessions.jsonl   id, owner and name of each session, who was taken out of it, and whether its labels are timely;
                     private. A line when a session begins, is changed or deleted
    index.json       number, id, frames and last sequence of each session: for readers, and a checkpoint of frames.jsonl

Ids and owners come from `sessions.jsonl` alone.

Deleting sessions from an output directory, so that nothing of them is left, and nothing of others is lost.

    1. sessions.jsonl gets a line that the session is deleted: from now on it is, whatever happens
    2. its meshes and pictures are removed
    3. index.json is removed: it counts bytes of the old frames.jsonl
    4. frames.jsonl is replaced by a copy without the session's lines
    5. sessions.jsonl is replaced by a copy without the session; of the highest number, the line of its deletion stays,
       because numbers are not given again
    6. index.json is written

Whoever opens the directory after a kill does all that again for the deletions that `sessions.jsonl` has.
"""

import contextlib
import json
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Self

import msgspec

from common.clock import Clock
from common.errors import BodywireError
from common.io.files import read_regular
from receiver.link.refusals import SessionOwner

_PLAIN = (
    "source", "sources",
    "began_at", "ended_at", "captured_from", "captured_to",
    "disk_bytes", "label_bytes", "link_bytes", "link_counted", "aged", "age_ms",
)  # fmt: skip
# What a double still counts one by one; and the end of the year 9999, the last that a date can have.
_MOST, _MOST_TIME_S = 2**53, 253_402_300_799


@dataclass(slots=True)
class SessionStatistics:
    """Sums over the lines of a session.

    Args:
        began_at, ended_at: when its first and its newest line were written, seconds since the epoch on this machine.
        source: file name or device of the newest line.
        sources: of how many lines it was another than of the line before.
        captured_from, captured_to: times of capture of these, sender's clock.
        people: identities of everybody who was seen.
        disk_bytes: lines and meshes.
        label_bytes: of all packets.
        link_bytes: everything on the link until the newest line; 0 without a link.
        link_counted: what the newest line says of it: a receiver that was restarted counts from 0.
        aged: number of lines with an age.
        age_ms: sum of these.
    """

    began_at: float = 0.0
    ended_at: float = 0.0
    source: str = ""
    sources: int = 0
    captured_from: float = 0.0
    captured_to: float = 0.0
    people: set[int] = field(default_factory=set)
    disk_bytes: int = 0
    label_bytes: int = 0
    link_bytes: int = 0
    link_counted: int = 0
    aged: int = 0
    age_ms: float = 0.0

    @property
    def length_s(self) -> float:
        """From the first frame to the newest, by the sender's clock; 0 if it was set back."""
        return max(self.captured_to - self.captured_from, 0.0)

    @property
    def mean_age_ms(self) -> float | None:
        """Mean age of the frames whose age is known."""
        return self.age_ms / self.aged if self.aged else None

    def add(self, line: Mapping[str, Any], disk_bytes: int, written_at: float) -> None:
        """Counts a line of `frames.jsonl`; damaged values, of a file that was edited, are left out.

        Args:
            disk_bytes: of the line and its meshes.
        """
        source = str(line.get("source", ""))
        self.sources += source != self.source or not self.began_at
        if not self.began_at:
            self.began_at = written_at
            self.captured_from = self.captured_to = _number(line.get("captured_at"))
        self.ended_at, self.source = written_at, source
        self.captured_to = _number(line.get("captured_at")) or self.captured_to
        self.disk_bytes += disk_bytes
        counted = int(_number(line.get("link_bytes"))) or self.link_counted
        # It is estimated between two readings of the connection, and may be corrected downwards.
        was_restarted = counted < self.link_counted / 2
        self.link_bytes += counted if was_restarted else counted - self.link_counted
        self.link_counted = counted
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            self.label_bytes += int(_number(line["bytes"]["total"]))
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            self.people.update(whole(person["id"], _MOST) for person in line["people"])
        if line.get("age_ms") is not None:
            self.aged += 1
            self.age_ms += _number(line["age_ms"])

    def copy(self) -> Self:
        """The statistics as they are now."""
        return replace(self, people=set(self.people))

    def as_dict(self) -> dict[str, Any]:
        """For `index.json`."""
        return {**{name: getattr(self, name) for name in _PLAIN}, "people": sorted(self.people)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `as_dict` has made. Raises TypeError or ValueError if it is something else."""
        known: dict[str, Any] = {name: fields[name] for name in _PLAIN if name in fields}
        if not isinstance(known.get("source", ""), str):
            raise TypeError("a source is no text")
        if any(_number(value) != value for name, value in known.items() if name != "source"):
            raise ValueError("a number is out of range")
        if max(known.get("began_at", 0.0), known.get("ended_at", 0.0)) > _MOST_TIME_S:
            raise ValueError("a time is out of range")
        return cls(**known, people={int(person) for person in fields.get("people", ())})


def is_album(frames: int, sources: int) -> bool:
    """Whether frames are pictures of their own, each with people of its own: most have names of their own.

    Args:
        sources: how often the source was another than that of the frame before, the first one counted.
    """
    return frames > 1 and 2 * sources > frames


def whole(value: Any, most: int) -> int:
    """A whole number from 0 to `most` of a record. Raises ValueError, TypeError or OverflowError."""
    number = int(value)
    if not 0 <= number <= most:
        raise ValueError(f"{value!r:.40} is out of range")
    return number


def _number(value: Any) -> float:
    """0 for what is no number, or out of range."""
    return value if isinstance(value, (int, float)) and abs(value) <= _MOST else 0.0


logger = logging.getLogger(__name__)

_VERSION = 2
DAMAGES = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a damaged or forged line, or what it holds, raises."""
# Names of meshes have nine digits of a session, with room for those that follow, and sixteen of a frame.
MOST_SESSION, MOST_SEQUENCE = 10**8, 2**53
_STEM_CHARACTERS = 60
# A hundred thousand sessions.
_MOST_INDEX_BYTES = 100_000_000


@dataclass(slots=True)
class SessionState:
    """A session of a directory.

    Args:
        number: from 1 on.
        identifier: the session's id, hexadecimal; None if there are frames of a session whose record is lost.
        owner: the sender that may continue it; None without an id.
        frames: number of its lines in `frames.jsonl`.
        last_sequence: highest sequence number of these, −1 before the first one.
        name: what somebody has called it; empty if nobody has.
        timely: no filter delays its labels; where a record says nothing, one does.
        hidden: identities of those whom somebody has taken out; their lines and meshes stay.
    """

    number: int
    identifier: str | None
    owner: SessionOwner | None = None
    frames: int = 0
    last_sequence: int = -1
    name: str = ""
    timely: bool = False
    hidden: tuple[int, ...] = ()
    statistics: SessionStatistics = field(default_factory=SessionStatistics)

    @property
    def is_album(self) -> bool:
        """Whether its frames are pictures of their own."""
        return is_album(self.frames, self.statistics.sources)

    @property
    def file_stem(self) -> str:
        """What files that are made of it are called."""
        return file_stem(self.number, self.name, ALBUM if self.is_album else self.statistics.source)


ALBUM = "photos"
"""What an album is called that nobody has named: each of its pictures has a name."""


def without_people(line: dict[str, Any], hidden: Collection[int]) -> dict[str, Any]:
    """A line of `frames.jsonl` without those whom somebody has taken out of its session."""
    people = [one for one in line["people"] if not (isinstance(one, dict) and one.get("id") in hidden)]
    return {**line, "people": people} if len(people) < len(line["people"]) else line


def file_stem(number: int, name: str, source: str) -> str:
    """What files that are made of a session are called: `Rehearsal-3`, or `clip-3` after its source, clip.mp4."""
    called = name or PurePath(source).stem
    cleaned = "".join(each if each.isalnum() or each in " _-." else "_" for each in called).strip(" ._-")
    return f"{cleaned[:_STEM_CHARACTERS] or 'session'}-{number}"


@dataclass(frozen=True, slots=True)
class Records:
    """Content of `sessions.jsonl`.

    Args:
        deleted: numbers of sessions whose deletion has begun.
        unfinished: those of which the file still has more.
    """

    sessions: dict[int, SessionState]
    deleted: frozenset[int]
    unfinished: frozenset[int]


@dataclass(frozen=True, slots=True)
class Index:
    """Content of `index.json`.

    Args:
        frames_bytes: size of the part of `frames.jsonl` that the counts cover.
        sessions: by number, without ids and owners.
    """

    frames_bytes: int
    sessions: dict[int, SessionState]


def encode_record(state: SessionState) -> bytes:
    """The line of `sessions.jsonl` of a session with an id."""
    owner = state.owner
    record: dict[str, Any] = {
        "session": state.number,
        "id": state.identifier,
        "owner": owner.subject if owner else None,
        "secret_sha256": owner.secret_sha256.hex() if owner else None,
    }
    if state.name:
        record["name"] = state.name
    if state.timely:
        record["timely"] = True
    if state.hidden:
        record["hidden"] = state.hidden
    return _line(record)


def encode_deletion(number: int) -> bytes:
    """The line of `sessions.jsonl` of a session that is deleted; its number is not given again."""
    return _line({"session": number, "deleted": True})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_records(path: Path) -> Records:
    """What `sessions.jsonl` has; a session's last line counts. Raises OSError."""
    sessions: dict[int, SessionState] = {}
    deleted: set[int] = set()
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            number = whole(record["session"], MOST_SESSION)
            if record.get("deleted") is True:
                deleted.add(number)
                continue
            identifier, name = str(record["id"]), str(record.get("name", ""))
            owner = SessionOwner(str(record["owner"]), bytes.fromhex(record["secret_sha256"]))
            timely = record.get("timely") is True
            hidden = tuple(whole(each, MOST_SEQUENCE) for each in record.get("hidden", ()))
        except DAMAGES:
            # Without its id the session cannot be continued, by its owner or by another sender.
            logger.warning("%s has a damaged line; the session in it cannot be continued", path)
        else:
            sessions[number] = SessionState(number, identifier, owner, name=name, timely=timely, hidden=hidden)
    kept = {number: state for number, state in sessions.items() if number not in deleted}
    return Records(kept, frozenset(deleted), frozenset(sessions.keys() & deleted))


def encode_index(frames_bytes: int, sessions: Iterable[SessionState]) -> bytes:
    """The content of `index.json`, with a line per session."""
    entries = (
        json.dumps(
            {"session": s.number, "id": s.identifier, "frames": s.frames, "last_seq": s.last_sequence}
            | ({"statistics": s.statistics.as_dict()} if s.frames else {}),
            separators=(",", ":"),
        )
        for s in sessions
    )
    head = f'{{"version": {_VERSION}, "frames_bytes": {frames_bytes}, "sessions": [\n'
    return (head + ",\n".join(entries) + "\n]}\n").encode()


def read_index(path: Path, lines_bytes: int) -> Index:
    """Reads `index.json`; the index is empty if the file is missing or damaged.

    Args:
        lines_bytes: size of `frames.jsonl`. If it is smaller than the index says, it was truncated from outside: the
            index has the sessions, but none of their frames.
    """
    try:
        index = json.loads(read_regular(path, _MOST_INDEX_BYTES))
        counted = int(index["frames_bytes"])
        if index["version"] != _VERSION:
            raise ValueError(index["version"])
        sessions = {state.number: state for state in map(_indexed, index["sessions"])}
    except FileNotFoundError:
        return Index(0, {})
    except (OSError, *DAMAGES):
        logger.warning("%s is damaged; rebuilding it", path)
        return Index(0, {})
    if 0 <= counted <= lines_bytes:
        return Index(counted, sessions)
    return Index(0, {number: SessionState(number, None) for number in sessions})


def _indexed(entry: dict[str, Any]) -> SessionState:
    statistics = SessionStatistics.from_dict(entry.get("statistics", {}))
    number, frames = whole(entry["session"], MOST_SESSION), whole(entry["frames"], MOST_SEQUENCE)
    last = whole(entry["last_seq"] + 1, MOST_SEQUENCE) - 1
    return SessionState(number, None, None, frames, last, statistics=statistics)


def read_lines(path: Path, start: int) -> Iterator[tuple[int, int, dict[str, Any], int]]:
    """Session, sequence number, content and size of each whole line of `frames.jsonl` from byte `start`.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                session, sequence = whole(record["session"], MOST_SESSION), whole(record["seq"], MOST_SEQUENCE)
            except DAMAGES:
                logger.warning("%s has a line that is not a frame record: %.40r", path, line)
            else:
                yield session, sequence, record, len(line)


# A frame or picture that was in work when its session ended is written by then.
_SETTLED_S = 5.0


class SessionUsage:
    """Counts who writes sessions, by number; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._writers = Counter[int]()
        self._ended_s: dict[int, float] = {}

    def began(self, number: int) -> None:
        """A sender writes a session."""
        with self._lock:
            self._writers[number] += 1

    def ended(self, number: int) -> None:
        """A sender has ended."""
        with self._lock:
            self._writers -= Counter([number])
            self._ended_s[number] = self._clock.monotonic()

    def settled(self, number: int) -> None:
        """All that was in work when the sender has ended is written."""
        with self._lock:
            self._ended_s.pop(number, None)

    def live(self) -> set[int]:
        """The sessions that a sender writes, or has ended just now."""
        with self._lock:
            now_s = self._clock.monotonic()
            self._ended_s = {number: s for number, s in self._ended_s.items() if now_s - s < _SETTLED_S}
            return {*self._writers, *self._ended_s}


_SESSION_OF_FILE = re.compile(
    r"(?:s(?P<number>\d{1,9})-)?(?:\d{6,16}(?:-p\d{1,3})?(?:\.body)?\.(?:gltf|glb|obj|ply|png)"
    r"|[a-z]{1,16}-[0-9a-f]{16}\.(?:bin|jpg))"
    r"|s(?P<lines>\d{1,9})\.jsonl"
)
_PICTURES = "channel"
FOLDERS = ("meshes", _PICTURES)
"""Of the output directory, with files of sessions."""


class SessionInUse(BodywireError):
    """A session is live: it cannot be deleted now."""


class LineHead(msgspec.Struct, frozen=True, gc=False):
    """What a line of `frames.jsonl` or `sessions.jsonl` says of its session; the rest of it is checked to be JSON."""

    session: Annotated[int, msgspec.Meta(ge=1, le=MOST_SESSION)]


class FrameHead(LineHead, frozen=True, gc=False):
    """What a line of `frames.jsonl` says of its frame."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=MOST_SEQUENCE)]
    captured_at: float
    people: list[msgspec.Raw]


_LINE_HEADS, _FRAME_HEADS = msgspec.json.Decoder(LineHead), msgspec.json.Decoder(FrameHead)


def session_of_line(line: bytes) -> int | None:
    """The session of a line of `frames.jsonl` or `sessions.jsonl`; None if it has none, or is damaged."""
    with suppress(msgspec.DecodeError, RecursionError):
        return _LINE_HEADS.decode(line).session
    return None


def head_of_line(line: bytes) -> FrameHead | None:
    """What a line of `frames.jsonl` says of its frame; None if it is damaged."""
    with suppress(msgspec.DecodeError, RecursionError):
        return _FRAME_HEADS.decode(line)
    return None


def session_of_file(name: str) -> int | None:
    """The session of a file in one of `FOLDERS`; None if it is no file of a receiver. Only the first has no prefix."""
    match = _SESSION_OF_FILE.fullmatch(name)
    return int(match["number"] or match["lines"] or 1) if match else None


def session_files(out: Path, number: int) -> Iterator[Path]:
    """The meshes and pictures of a session, relative to the directory. Raises OSError."""
    for folder in FOLDERS:
        with suppress(FileNotFoundError), os.scandir(out / folder) as entries:
            names = sorted(entry.name for entry in entries if session_of_file(entry.name) == number)
            yield from (Path(folder, name) for name in names)


def picture_bytes(out: Path) -> Counter[int]:
    """Bytes of the pictures of each session, which its statistics do not count."""
    found = Counter[int]()
    with suppress(OSError), os.scandir(out / _PICTURES) as entries:
        for entry in entries:
            number = session_of_file(entry.name)
            if number is not None:
                found[number] += entry.stat(follow_symlinks=False).st_size
    return found


def shared_bytes(meshes: int, since: float) -> Counter[int]:
    """Bytes of each session's files to which bodies refer, of those that were written later than `since`.

    Args:
        meshes: the folder, opened.
        since: seconds since the epoch.
    """
    found = Counter[int]()
    for name in os.listdir(meshes):
        number = session_of_file(name) if name.endswith((".bin", ".jpg")) else None
        if number is not None:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=meshes, follow_symlinks=False)
                found[number] += status.st_size if status.st_mtime > since else 0
    return found


def remove_files(out: Path, numbers: Collection[int]) -> None:
    """Removes the meshes and pictures of sessions. Raises OSError."""
    for folder in FOLDERS:
        try:
            opened = os.open(out / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            for name in os.listdir(opened):
                if session_of_file(name) in numbers:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=opened)
            os.fsync(opened)
        finally:
            os.close(opened)
