"""Files that are written whole or not at all, read only where they are plain files, and kept from other users.

The folder of what is computed once per machine, and whether a file in it can be trusted.

`$BODYWIRE_CACHE` (default `~/.cache/bodywire`).  A file that another user may have made is not used.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from common.errors import OutputError

_PARTIAL = ".partial"


def partial_path(path: Path) -> Path:
    """A path beside another one for what is to take its place; see `remove_partial_files`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")


@contextlib.contextmanager
def atomic_replacement(path: Path, folder: int | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends and removes it when it fails.

    Several processes may replace the same file at the same time; the last one to finish wins.  A process that is killed
    inside the block leaves `.<name>.<8 hexadecimal digits>.partial` behind; see `remove_partial_files`.

    Args:
        folder: the path's folder, opened: where its path leads by now does not matter then.
    """
    # The rename is atomic only within one folder.
    partial = partial_path(path)
    try:
        yield partial
        os.replace(_in(partial, folder), _in(path, folder), src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(_in(partial, folder), dir_fd=folder)
        raise


def _in(path: Path, folder: int | None) -> Path | str:
    return path if folder is None else path.name


def atomic_write(
    path: Path, content: bytes, *, synced: bool = True, mode: int = 0o666, folder: int | None = None
) -> None:
    """Replaces a file's content atomically, also if the process is killed.

    Args:
        synced: also survive a loss of power: wait until the content is on the disk.
        mode: permissions of the new file, less the process's umask.
        folder: as for `atomic_replacement`.

    Raises:
        OSError: the file cannot be written; no temporary file is left.
    """
    with (
        atomic_replacement(path, folder) as partial,
        open(partial, "xb", opener=lambda _, flags: os.open(_in(partial, folder), flags, mode, dir_fd=folder)) as file,
    ):
        file.write(content)
        if synced:
            file.flush()
            os.fsync(file.fileno())


def remove_partial_files(folder: Path | int) -> None:
    """Removes the temporary files of killed processes from a folder, or an opened one, that only this process writes.

    Raises:
        OSError: the folder cannot be read, or a file cannot be removed.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(_PARTIAL):
                os.unlink(entry.path, dir_fd=folder if isinstance(folder, int) else None)


_PREFIX = "bodywire-run-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PrivateFolder:
    """A folder that only its user may enter, locked while this process lives.

    Args:
        parent: where it is made; among the temporary files by default.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_abandoned(parent)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = os.open(self.path, _FOLDER)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():
                return
            os.close(self._lock)  # another process took it for abandoned before it was locked

    def remove(self) -> None:
        """Removes the folder. Safe to call twice."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def remove_abandoned(parent: Path) -> None:
    """Removes this user's folders that no process has locked."""
    for path in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(path, _FOLDER)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def open_regular(path: Path, most_bytes: int | None = None, *, follow_links: bool = False) -> BinaryIO:
    """Opens a regular file for reading.

    Args:
        follow_links: of a path that the user gives; what a folder has may lead out of it.

    Raises:
        OSError: also for a folder (EISDIR), anything else but a regular file (EINVAL), a file of more bytes (EFBIG),
            and a link (ELOOP).
    """
    try:
        # Without O_NONBLOCK, a pipe of this name would block.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP or follow_links:
            raise
        raise OSError(errno.ELOOP, "it is a link", str(path)) from error
    status, fault = os.fstat(descriptor), None
    if stat.S_ISDIR(status.st_mode):
        fault = OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    elif not stat.S_ISREG(status.st_mode):
        fault = OSError(errno.EINVAL, "it is not a regular file", str(path))
    elif most_bytes is not None and status.st_size > most_bytes:
        fault = _too_large(path, most_bytes)
    if fault is not None:
        os.close(descriptor)
        raise fault
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most_bytes: int, *, follow_links: bool = False) -> bytes:
    """The content of a regular file, which may grow meanwhile; arguments and errors as for `open_regular`."""
    with open_regular(path, most_bytes, follow_links=follow_links) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise _too_large(path, most_bytes)
    return content


def stamp_of(path: Path) -> object:
    """What changes when a file is replaced or written; None if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _too_large(path: Path, most_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))


def cache_directory() -> Path:
    """`$BODYWIRE_CACHE`, or `~/.cache/bodywire`; raises OutputError for a user without a home directory."""
    try:
        return Path(os.environ.get("BODYWIRE_CACHE") or "~/.cache/bodywire").expanduser()
    except RuntimeError as error:
        raise OutputError("there is no directory for a cache: set HOME or BODYWIRE_CACHE") from error


def is_trusted(file: BinaryIO, path: Path) -> bool:
    """Whether only this user or root can have written an opened file, or put it into its folder."""
    status, folder = os.fstat(file.fileno()), path.parent.stat()
    written_by_others = _is_writable_by_others(status) or (
        _is_writable_by_others(folder) and not folder.st_mode & stat.S_ISVTX
    )
    return {status.st_uid, folder.st_uid} <= {0, os.geteuid()} and not written_by_others


def _is_writable_by_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid not in (0, os.getegid())))
