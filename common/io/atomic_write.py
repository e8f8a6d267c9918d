"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_replacement(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when the block ends, and is removed if it fails.

    Who reads `path` finds the old content or the new, never a part.  One writer at a time.
    """
    # In the same folder, for the replacement to be atomic.
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def atomic_write(path: Path, content: bytes, *, synced: bool = True, mode: int = 0o666) -> None:
    """Writes a file so that a reader, or a kill at any moment, finds the old content or the new, never a part.

    Args:
        path: the file.
        content: what it will hold.
        synced: whether that holds for a loss of power too, for which it waits until the disk has the content.
        mode: who may do what with it, less the process's umask.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    with atomic_replacement(path) as partial:
        # What a writer who was killed has left behind may have another mode.
        partial.unlink(missing_ok=True)
        with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
