"""A disk that forgets: what a process wrote and did not sync is gone when it is killed, as when the power fails.

A killed process alone loses nothing that it has written, because the kernel has it.  `forget_unsynced` keeps writes in
this process until `os.fsync`, for files below a directory, so that `kill -9` shows who promises too early.
"""

import os
from pathlib import Path


def forget_unsynced(directory: Path) -> None:
    """From now on `os.write` to files below a directory reaches them with `os.fsync` or `os.close`."""
    write, sync, close = os.write, os.fsync, os.close
    root = f"{directory.resolve()}{os.sep}"
    held: dict[int, bytearray] = {}

    def holding_write(descriptor: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(root):
            return write(descriptor, data)
        held.setdefault(descriptor, bytearray()).extend(data)
        return len(data)

    def let_go(descriptor: int) -> None:
        data = held.pop(descriptor, None)
        if data:
            write(descriptor, data)

    def releasing_sync(descriptor: int) -> None:
        let_go(descriptor)
        sync(descriptor)

    def releasing_close(descriptor: int) -> None:
        let_go(descriptor)
        close(descriptor)

    os.write, os.fsync, os.close = holding_write, releasing_sync, releasing_close  # type: ignore[assignment]
