"""Deleting sessions from an output directory, so that nothing of them is left, and nothing of others is lost.

    1. sessions.jsonl gets a line that the session is deleted: from now on it is, whatever happens
    2. its meshes and pictures are removed
    3. index.json is removed: it counts bytes of the old frames.jsonl
    4. frames.jsonl is replaced by a copy without the session's lines
    5. sessions.jsonl is replaced by a copy without the session; of the highest number, the line of its deletion stays,
       because numbers are not given again
    6. index.json is written

Whoever opens the directory after a kill does all that again for the deletions that `sessions.jsonl` has.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from common.errors import BodywireError

_SESSION_OF_LINE = re.compile(rb'"session":\s?(\d{1,9})(?!\d)')
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


def session_of_line(line: bytes) -> int | None:
    """The session of a line of `frames.jsonl` or `sessions.jsonl`; None if it has none."""
    match = _SESSION_OF_LINE.search(line)
    return int(match[1]) if match else None


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
