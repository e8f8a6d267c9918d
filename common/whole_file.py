"""Files that are there whole or not at all."""

import contextlib
import os
from pathlib import Path


def replace_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a kill at any moment, finds the old content or the new, never a part.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    # In the same folder, for the replacement to be atomic.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
