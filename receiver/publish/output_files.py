"""Files of the output directory: written atomically, left alone while that fails, and the room on their disk."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.clock import Clock
from common.errors import OutputError, disk_remedy
from common.io.atomic_write import atomic_write

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 1.0
# On a disk that is nearly full, small writes succeed between large ones that fail.
_SETTLED_S = 2.0


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
    """Spaces out the attempts to write while they fail, and logs one line when that begins and one when it ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failure: OutputError | None = None
        self._paused = False
        self._began_s = self._failed_s = self._next_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._refused = 0

    def check(self) -> None:
        """Raises OutputError if the last attempt failed, and the next one is not due."""
        if self._failure is None or not self._paused:
            return
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            self._refused += 1
            raise OutputError(str(self._failure)) from self._failure.__cause__
        # This attempt is the only one until the pause is over again.
        self._next_s = now_s + self._pause_s

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """The context of an attempt to write; passes all errors on."""
        try:
            yield
        except OutputError as error:
            self._fail(error)
            raise
        self._succeed()

    def _fail(self, error: OutputError) -> None:
        now_s = self._clock.monotonic()
        if self._failure is None:
            self._began_s, self._pause_s, self._refused = now_s, _FIRST_PAUSE_S, 0
            logger.error("%s; senders wait until it can be written", error)
        else:
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        self._failure, self._paused = error, True
        self._refused += 1
        self._failed_s, self._next_s = now_s, now_s + self._pause_s

    def _succeed(self) -> None:
        self._paused = False
        if self._failure is not None and self._clock.monotonic() - self._failed_s >= _SETTLED_S:
            self._failure = None
            spent_s = self._failed_s - self._began_s
            logger.warning("the output can be written again; for %.1f s it refused %d frames", spent_s, self._refused)
