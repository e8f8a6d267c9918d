"""Opens files that somebody else may have named or filled in: pipes, devices, links to elsewhere, files without end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


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
