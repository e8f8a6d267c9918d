"""Atomic file replacement: a reader finds the old content or the new content, never a mixture."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = ".partial"


def partial_path(path: Path) -> Path:
    """A path beside another one for what is to take its place; see `remove_partial_files`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")


@contextlib.contextmanager
def atomic_replacement(path: Path, folder: int | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends and removes it when it fails.

    Several processes may replace the same file at the same time; the last one to finish wins.  A process that is killed
    inside the block leaves `.<name>.<8 hexadecimal digits>.partial` behind; see `remove_partial_files`.

    Args:
        folder: the path's folder, opened: where its path leads by now does not matter then.
    """
    # The rename is atomic only within one folder.
    partial = partial_path(path)
    try:
        yield partial
        os.replace(_in(partial, folder), _in(path, folder), src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(_in(partial, folder), dir_fd=folder)
        raise


def _in(path: Path, folder: int | None) -> Path | str:
    return path if folder is None else path.name


def atomic_write(
    path: Path, content: bytes, *, synced: bool = True, mode: int = 0o666, folder: int | None = None
) -> None:
    """Replaces a file's content atomically, also if the process is killed.

    Args:
        synced: also survive a loss of power: wait until the content is on the disk.
        mode: permissions of the new file, less the process's umask.
        folder: as for `atomic_replacement`.

    Raises:
        OSError: the file cannot be written; no temporary file is left.
    """
    with (
        atomic_replacement(path, folder) as partial,
        open(partial, "xb", opener=lambda _, flags: os.open(_in(partial, folder), flags, mode, dir_fd=folder)) as file,
    ):
        file.write(content)
        if synced:
            file.flush()
            os.fsync(file.fileno())


def remove_partial_files(folder: Path | int) -> None:
    """Removes the temporary files of killed processes from a folder, or an opened one, that only this process writes.

    Raises:
        OSError: the folder cannot be read, or a file cannot be removed.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(_PARTIAL):
                os.unlink(entry.path, dir_fd=folder if isinstance(folder, int) else None)
