"""A file that only grows, by whole parts: what was appended can be read, whatever ends the process."""

import contextlib
import errno
import os
from pathlib import Path


class AppendFile:
    """A file, readable by its owner alone.

    Args:
        path: must not exist, unless `size_bytes` is given.
        size_bytes: of the parts in an existing file, which is continued behind them; what follows is cut off.

    Raises:
        OSError: here and in every method: the file cannot be written. Only `close` may be called afterwards; the parts
            before are whole.
    """

    def __init__(self, path: Path, size_bytes: int | None = None) -> None:
        new = os.O_CREAT | os.O_EXCL if size_bytes is None else os.O_NOFOLLOW
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | new, 0o600)
        self._synced = True
        self.size_bytes = size_bytes or 0
        os.ftruncate(self._file, self.size_bytes)

    def append(self, part: bytes) -> None:
        """Adds a part, which survives a crash of this process and, after `sync`, of the machine."""
        self._synced = False
        try:
            if os.write(self._file, part) < len(part):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):  # a reader ignores a part that is not whole
                os.ftruncate(self._file, self.size_bytes)
            raise
        self.size_bytes += len(part)

    def sync(self) -> None:
        """Waits until all parts are on the disk."""
        if not self._synced:
            os.fsync(self._file)
            self._synced = True

    def close(self) -> None:
        """Syncs and closes the file; safe to call twice."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                self._file = -1
