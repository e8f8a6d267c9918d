"""The room on the disk of the output directory."""

import math
import os
from pathlib import Path


def free_and_size_bytes(directory: Path) -> tuple[float, float]:
    """What this user may still write to a directory's disk, and the disk's size; NaN if it cannot be read."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return math.nan, math.nan
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
