"""Opens files of folders that somebody else may have filled: with pipes, devices, or links to elsewhere."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, most_bytes: int | None = None) -> BinaryIO:
    """Opens a regular file for reading. Raises OSError, also for a link or anything else, or a file of more bytes."""
    try:
        # Without O_NONBLOCK, a pipe of this name would block.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link", str(path)) from error
    status = os.fstat(file.fileno())
    fault = None
    if not stat.S_ISREG(status.st_mode):
        fault = OSError(errno.EINVAL, "it is not a regular file", str(path))
    elif most_bytes is not None and status.st_size > most_bytes:
        fault = OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
    if fault is not None:
        file.close()
        raise fault
    return file
