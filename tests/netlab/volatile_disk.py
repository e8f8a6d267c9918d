"""A volatile disk: unsynced writes of a process are lost when it is killed, as in a power failure.

Normally a killed process loses nothing that it has written, because the kernel has it.  `forget_unsynced` buffers the
writes to files below a directory in this process until `os.fsync`, so that `kill -9` reveals acknowledgements that are
sent too early.
"""

import os
from pathlib import Path
from stat import ST_SIZE


def forget_unsynced(directory: Path) -> None:
    """Delays `os.write` to files below a directory until `os.fsync` or `os.close`; `os.fstat` counts it at once."""
    write, sync, close, stat = os.write, os.fsync, os.close, os.fstat
    root = f"{directory.resolve()}{os.sep}"
    buffers: dict[int, bytearray] = {}

    def buffered_write(descriptor: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(root):
            return write(descriptor, data)
        buffers.setdefault(descriptor, bytearray()).extend(data)
        return len(data)

    def flush(descriptor: int) -> None:
        data = buffers.pop(descriptor, None)
        if data:
            write(descriptor, data)

    def flushing_sync(descriptor: int) -> None:
        flush(descriptor)
        sync(descriptor)

    def flushing_close(descriptor: int) -> None:
        flush(descriptor)
        close(descriptor)

    def buffered_stat(descriptor: int) -> os.stat_result:
        fields = list(stat(descriptor))
        fields[ST_SIZE] += len(buffers.get(descriptor, b""))
        return os.stat_result(fields)

    os.write, os.fsync, os.close = buffered_write, flushing_sync, flushing_close  # type: ignore[assignment]
    os.fstat = buffered_stat  # type: ignore[assignment]
