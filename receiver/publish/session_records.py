"""What a receiver's directory records about its sessions.

    sessions.jsonl   id, owner and name of each session, who was taken out of it, and whether its labels are timely;
                     private. A line when a session begins, is changed or deleted
    index.json       number, id, frames and last sequence of each session: for readers, and a checkpoint of frames.jsonl

Ids and owners come from `sessions.jsonl` alone.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from common.io.files import read_regular
from receiver.link.auth.ownership import SessionOwner
from receiver.publish.session_statistics import SessionStatistics, is_album, whole

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
