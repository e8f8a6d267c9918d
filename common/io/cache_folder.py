"""The folder of what is computed once per machine, and whether a file in it can be trusted.

`$BODYWIRE_CACHE` (default `~/.cache/bodywire`).  A file that another user may have made is not used.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from common.errors import OutputError


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
