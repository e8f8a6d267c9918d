"""Files of the output directory: written atomically or line by line, left alone while that fails.

A file of lines that notices when another program moves or changes it. Lines are appended, or left out of a copy that
takes its place.
"""

import contextlib
import errno
import fcntl
import logging
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from common.clock import Clock
from common.errors import OutputError, disk_remedy
from common.io.files import atomic_write, partial_path
from common.io.logs import RepeatedLines
from common.text import counted

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


_BLOCK_BYTES = 65536
# While one thread computes without a pause, others wait for milliseconds each time they have let go of the interpreter.
_COPY_BYTES, _COPY_PAUSE_S = 65536, 0.0005


class LineFile:
    """Appends whole lines to a file; a context manager.

    A line that could not be written or synced completely is removed, at the latest before the next one is appended.

    Args:
        mode: permissions of a new file, less the umask.
        locked: refuse a file that another process has opened in this way.
        folder: the path's folder, opened.

    Raises:
        OutputError: the file cannot be opened, read or changed, or another process has locked it.
    """

    def __init__(self, path: Path, *, mode: int, locked: bool = False, folder: int | None = None) -> None:
        self.path = path
        self._locked, self._mode = locked, mode
        self._incomplete = False
        with output_errors(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path.name if folder is not None else path, flags, mode, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            if locked:
                self._lock()
            self.size_bytes = self._synced_bytes = self._cut_torn_line()
        except OSError as error:
            self.close()
            raise output_error(path, error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes and unlocks the file. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def append(self, line: bytes, *, synced: bool) -> None:
        """Appends a line; `synced`: with all before it. Raises OutputError: it does not count, and may be repeated."""
        self.check()
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if synced:
                os.fsync(self._descriptor)
            # A file that is moved between the check and the write may have been copied before the line was in it.
            check_place(self.path, self._descriptor)
        except OSError as error:
            self._take_back()
            raise output_error(self.path, error) from error
        except OutputError:
            self._take_back()
            raise
        self.size_bytes += len(line)
        if synced:
            self._synced_bytes = self.size_bytes

    def sync(self) -> None:
        """Waits until all lines are on the disk. Raises OutputError if they cannot be written."""
        if self._synced_bytes < self.size_bytes:
            with output_errors(self.path):
                os.fsync(self._descriptor)
            self._synced_bytes = self.size_bytes

    def copy(self, keep: Callable[[bytes], bool]) -> "LineCopy":
        """A copy beside the file, of the lines that `keep` accepts; others may append meanwhile. Raises OutputError."""
        copy = LineCopy(self.path, keep, self._mode)
        try:
            copy.catch_up(self._descriptor, self.size_bytes)
            # Nobody waits for this one, as all do who want to append while the copy takes the file's place.
            with output_errors(self.path):
                os.fsync(copy.descriptor)
        except BaseException:
            copy.discard()
            raise
        return copy

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """The present file stays open, until the block ends: `replace` need not wait until the system has freed it."""
        descriptor = os.dup(self._descriptor)
        try:
            yield
        finally:
            os.close(descriptor)

    def replace(self, copy: "LineCopy") -> None:
        """Puts a copy in the file's place, with the lines that were appended since. Nobody may append meanwhile.

        A process that is killed leaves the file as it was or as it is then, and so does a loss of power.

        Raises:
            OutputError: the file stays as it is.
        """
        try:
            self.check()
            copy.catch_up(self._descriptor, self.size_bytes)
            with output_errors(self.path):
                os.fsync(copy.descriptor)
                if self._locked:
                    fcntl.flock(copy.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.replace(copy.path, self.path)
        except BaseException:
            copy.discard()
            raise
        os.close(self._descriptor)
        self._descriptor, self.size_bytes = copy.descriptor, copy.size_bytes
        self._synced_bytes = self.size_bytes

    def check(self) -> None:
        """Raises OutputError if another program has moved, removed, replaced or changed the file."""
        check_place(self.path, self._descriptor)
        with output_errors(self.path):
            if self._incomplete:
                self._remove_incomplete()
            size_bytes = os.fstat(self._descriptor).st_size
        if size_bytes != self.size_bytes:
            raise OutputError(
                f"{self.path} has {size_bytes} bytes instead of {self.size_bytes}: another program has changed it; "
                "restart the receiver"
            )

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another receiver writes into {self.path.parent}; choose another --out"
            raise OutputError(message) from error

    def _take_back(self) -> None:
        """Removes what the failed append has left, now or before the next one."""
        self._incomplete = True
        with contextlib.suppress(OSError):
            self._remove_incomplete()

    def _remove_incomplete(self) -> None:
        """Truncates what a failed append has left, unless another program has truncated more."""
        if os.fstat(self._descriptor).st_size > self.size_bytes:
            os.ftruncate(self._descriptor, self.size_bytes)
        self._incomplete = False

    def _cut_torn_line(self) -> int:
        """Removes a last line without a newline, whose write was interrupted; returns the size in bytes."""
        size = os.fstat(self._descriptor).st_size
        keep = size
        while keep > 0:
            start = max(0, keep - _BLOCK_BYTES)
            newline = os.pread(self._descriptor, keep - start, start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            logger.warning("removed an unfinished line of %s from %s", counted(size - keep, "byte"), self.path)
            os.ftruncate(self._descriptor, keep)
        return keep


class LineCopy:
    """A copy of a file of lines that is being made; see `LineFile.copy`."""

    def __init__(self, path: Path, keep: Callable[[bytes], bool], mode: int) -> None:
        self._source, self._keep = path, keep
        self.path, self._copied_bytes, self.size_bytes = partial_path(path), 0, 0
        with output_errors(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self.descriptor = os.open(self.path, flags, mode)

    def catch_up(self, source: int, size_bytes: int) -> None:
        """Copies the lines up to a size of the source, at which a line ends. Raises OutputError."""
        rest = b""
        with output_errors(self._source):
            while self._copied_bytes < size_bytes:
                chunk = os.pread(source, min(_COPY_BYTES, size_bytes - self._copied_bytes), self._copied_bytes)
                if not chunk:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                self._copied_bytes += len(chunk)
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                self._write(b"".join(line for line in (whole + newline).splitlines(keepends=True) if self._keep(line)))
                time.sleep(_COPY_PAUSE_S)

    def discard(self) -> None:
        """Removes the copy."""
        os.close(self.descriptor)
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _write(self, content: bytes) -> None:
        while content:
            written = os.write(self.descriptor, content)
            self.size_bytes, content = self.size_bytes + written, content[written:]


def check_place(path: Path, descriptor: int) -> None:
    """Raises OutputError if what is open was moved, removed or replaced at its path; takes about 2 µs."""
    opened = os.fstat(descriptor)
    try:
        present = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        found = "was moved or removed"
    except OSError as error:
        raise output_error(path, error) from error
    else:
        if (present.st_dev, present.st_ino) == (opened.st_dev, opened.st_ino):
            return
        found = "was replaced"
    raise OutputError(f"{path} {found} while the receiver writes to it: put it back, or restart the receiver")
