"""Files of the output directory: written atomically, left alone while that fails, and the room on their disk."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.clock import Clock
from common.errors import OutputError, disk_remedy
from common.io.files import atomic_write, partial_path
from common.io.logs import RepeatedLines

logger = logging.getLogger(__name__)

# Between two attempts that cost the networks' time.
_PAUSE_S = 0.5


def free_and_size_bytes(directory: Path) -> tuple[float, float]:
    """What this user may still write to a directory's disk, and the disk's size; NaN if it cannot be read."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return math.nan, math.nan
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def publish_file(
    path: Path, content: bytes, *, synced: bool = True, mode: int = 0o600, folder: int | None = None
) -> None:
    """Writes a file atomically: readers see either the old or the new content, also after the process was killed.

    Args:
        synced: also after a loss of power; the content is on the disk when this returns.
        mode: permissions, less the umask; by default only the owner may read the file.
        folder: the path's folder, opened.

    Raises:
        OutputError: the file cannot be written; no partial file remains.
    """
    with output_errors(path):
        atomic_write(path, content, synced=synced, mode=mode, folder=folder)


def check_writable(path: Path, flag: str = "--out") -> None:
    """Raises OutputError, which names the flag, if no file of this name can be made."""
    with output_errors(path, flag):
        partial = partial_path(path)
        partial.touch(exist_ok=False)
        partial.unlink()


@contextmanager
def opened_folder(path: Path, mode: int) -> Iterator[int]:
    """A folder of the output, created if missing, as a handle: what replaces it later is not written through.

    Raises:
        OutputError: it cannot be created or opened, or is a link.
    """
    with output_errors(path):
        with suppress(FileExistsError):
            path.mkdir(mode=mode)
        if path.is_symlink():
            raise OutputError(f"{path} is a link: put the folder that it leads to in its place, or link all of --out")
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def output_errors(path: Path, flag: str = "--out") -> Iterator[None]:
    """Turns an OSError of the block into an OutputError; `flag` chooses the path."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error, flag) from error


def output_error(path: Path, error: OSError, flag: str = "--out") -> OutputError:
    """An error with the path, the reason and the remedy; `flag` chooses the path."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; {disk_remedy(error, f'choose another {flag}')}")


class OutputGuard:
    """Spaces out the attempts to write while they fail, and logs when that begins and ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lines = clock, RepeatedLines(logger, clock)
        self._failure: OutputError | None = None
        self._next_s = 0.0

    def check(self) -> None:
        """Raises OutputError if the last attempt failed, and the next one is not due."""
        if self._failure is None:
            return
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            raise OutputError(str(self._failure)) from self._failure.__cause__
        # This attempt is the only one until the pause is over again.
        self._next_s = now_s + _PAUSE_S

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """The context of an attempt to write; passes all errors on."""
        try:
            yield
        except OutputError as error:
            self._failure, self._next_s = error, self._clock.monotonic() + _PAUSE_S
            self._lines.write(logging.ERROR, "failed", f"{error}; senders wait until it can be written")
            raise
        if self._failure is not None:
            self._failure = None
            self._lines.write(logging.WARNING, "written", "the output can be written again")
