"""The disk that a receiver writes to, which can be filled and emptied again."""

import os
import resource
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_SIZE_MB = 2048
_FREE_KB = 8


class Disk:
    """A directory on a small file system of its own, in memory, where this process may mount one.

    Elsewhere a full disk is imitated by a limit on the size of the receiver's files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mounted = False

    def __enter__(self) -> Self:
        self.path.mkdir()
        self._mounted = self._mount("-t", "tmpfs", "-o", f"size={_SIZE_MB}m,mode=700", "none", str(self.path))
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True)

    def fill(self, pid: int) -> None:
        """Leaves no space for the process that writes here."""
        if self._mounted:
            status = os.statvfs(self.path)
            used_kb = (status.f_blocks - status.f_bfree) * status.f_frsize // 1024
            self._mount("-o", f"remount,size={used_kb + _FREE_KB}k", str(self.path))
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self._largest_file(), resource.RLIM_INFINITY))

    def empty(self, pid: int) -> None:
        if self._mounted:
            self._mount("-o", f"remount,size={_SIZE_MB}m", str(self.path))
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _mount(self, *arguments: str) -> bool:
        try:
            return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
        except FileNotFoundError:
            return False

    def _largest_file(self) -> int:
        return max((path.stat().st_size for path in self.path.rglob("*.jsonl")), default=0)
