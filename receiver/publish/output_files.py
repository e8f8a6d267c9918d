"""Files of the output directory, and the room on its disk."""

import math
import os
from pathlib import Path

from common.errors import OutputError
from common.io.atomic_write import atomic_write


def free_and_size_bytes(directory: Path) -> tuple[float, float]:
    """What this user may still write to a directory's disk, and the disk's size; NaN if it cannot be read."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return math.nan, math.nan
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def publish_file(path: Path, content: bytes, *, synced: bool = True, mode: int = 0o600) -> None:
    """Writes a file atomically: readers see either the old or the new content, also after the process was killed.

    Args:
        synced: also after a loss of power; the content is on the disk when this returns.
        mode: permissions, less the umask; by default only the owner may read the file.

    Raises:
        OutputError: the file cannot be written; no partial file remains.
    """
    try:
        atomic_write(path, content, synced=synced, mode=mode)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError, flag: str = "--out") -> OutputError:
    """An error with the path, the reason and the remedy; `flag` chooses the path."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; free some space or choose another {flag}")
