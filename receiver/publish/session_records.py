"""What a receiver's directory records about its sessions.

    sessions.jsonl   id and owner of each session, a line when it begins; readable by the receiver's user alone
    index.json       number, id, frames and last sequence of each session: for readers, and a checkpoint of frames.jsonl

Ids and owners come from `sessions.jsonl` alone. An index of version 1, written before there were owners, has ids too;
they are copied into `sessions.jsonl` without an owner when the directory is opened.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from receiver.link.auth.ownership import SessionOwner

logger = logging.getLogger(__name__)

_VERSION = 2


@dataclass(slots=True)
class SessionState:
    """A session of a directory.

    Args:
        number: from 1 on.
        identifier: the session's id, hexadecimal; None if there are frames of a session whose record is lost.
        owner: the sender that may continue it; None if an older version has recorded the session.
        frames: number of its lines in `frames.jsonl`.
        last_sequence: highest sequence number of these, −1 before the first one.
    """

    number: int
    identifier: str | None
    owner: SessionOwner | None = None
    frames: int = 0
    last_sequence: int = -1


@dataclass(frozen=True, slots=True)
class Index:
    """Content of `index.json`.

    Args:
        version: 1 without owners, 2 with owners in `sessions.jsonl`.
        frames_bytes: size of the part of `frames.jsonl` that the counts cover.
        sessions: by number, without owners.
    """

    version: int
    frames_bytes: int
    sessions: dict[int, SessionState]


def encode_record(state: SessionState) -> bytes:
    """The line of `sessions.jsonl` of a session with an id."""
    owner = state.owner
    record = {
        "session": state.number,
        "id": state.identifier,
        "owner": owner.subject if owner else None,
        "secret_sha256": owner.secret_sha256.hex() if owner else None,
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_records(path: Path) -> dict[int, SessionState]:
    """The sessions in `sessions.jsonl` by number; a session's last line counts. Raises OSError."""
    sessions: dict[int, SessionState] = {}
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            number, identifier, secret = int(record["session"]), str(record["id"]), record["secret_sha256"]
            owner = None if secret is None else SessionOwner(str(record["owner"]), bytes.fromhex(secret))
        except (ValueError, KeyError, TypeError):
            # Without its id the session cannot be continued, by its owner or by another sender.
            logger.warning("%s has a damaged line; the session in it cannot be continued", path)
        else:
            sessions[number] = SessionState(number, identifier, owner)
    return sessions


def encode_index(frames_bytes: int, sessions: Iterable[SessionState]) -> bytes:
    """The content of `index.json`, with a line per session."""
    entries = (
        json.dumps({"session": s.number, "id": s.identifier, "frames": s.frames, "last_seq": s.last_sequence})
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
        index = json.loads(path.read_bytes())
        version, counted = int(index["version"]), int(index["frames_bytes"])
        sessions = {
            int(s["session"]): SessionState(int(s["session"]), s["id"], None, int(s["frames"]), int(s["last_seq"]))
            for s in index["sessions"]
        }
    except FileNotFoundError:
        return Index(_VERSION, 0, {})
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; rebuilding it", path)
        return Index(_VERSION, 0, {})
    if 0 <= counted <= lines_bytes:
        return Index(version, counted, sessions)
    return Index(version, 0, {n: SessionState(n, s.identifier) for n, s in sessions.items()})


def read_lines(path: Path, start: int) -> Iterator[tuple[int, int]]:
    """Session and sequence number of each whole line of `frames.jsonl` from byte `start`. Raises OSError."""
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                yield int(record["session"]), int(record["seq"])
            except (ValueError, KeyError, TypeError):
                logger.warning("%s has a line that is not a frame record: %.40r", path, line)
