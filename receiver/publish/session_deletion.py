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

import fcntl
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from common.errors import BodywireError

_SESSION_OF_LINE = re.compile(rb'"session":\s?(\d+)')
_SESSION_OF_FILE = re.compile(
    r"(?:s(?P<number>\d{1,9})-)?(?:\d{6,16}(?:-p\d{1,3})?(?:\.body)?\.(?:glb|obj|ply|png))"
    r"|s(?P<lines>\d{1,9})\.jsonl"
)
_PICTURES = "channel"
FOLDERS = ("meshes", _PICTURES)
"""Of the output directory, with files of sessions."""


EXPORT_WAIT_S = 15.0
"""How long a deletion waits for the exports that are running: one that begins meanwhile comes after it."""
_EXPORT_POLL_S = 0.05


class SessionInUse(BodywireError):
    """A session is live, or an export reads it: it cannot be deleted now."""


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


@contextmanager
def kept_from_deletion(*directories: Path) -> Iterator[None]:
    """While the block runs, no receiver deletes a session from these directories, as far as they are of receivers."""
    with ExitStack() as held:
        for directory in directories:
            with suppress(OSError):
                _lock(directory, fcntl.LOCK_SH, held)
        yield


@contextmanager
def nobody_exports(out: Path) -> Iterator[None]:
    """A block in which no export reads a directory. Raises SessionInUse if one goes on reading."""
    until_s = time.monotonic() + EXPORT_WAIT_S
    with ExitStack() as held:
        while True:
            try:
                _lock(out, fcntl.LOCK_EX | fcntl.LOCK_NB, held)
                break
            except BlockingIOError as error:
                # Exports that follow one another leave a gap that a single attempt would miss.
                if time.monotonic() >= until_s:
                    raise SessionInUse("an export reads the sessions: try again when it has ended") from error
            held.close()
            time.sleep(_EXPORT_POLL_S)
        yield


def _lock(directory: Path, how: int, held: ExitStack) -> None:
    folder = os.open(directory / "meshes", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, folder)
    fcntl.flock(folder, how)
