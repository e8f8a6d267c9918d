"""The files and folders of an export: named, checked before the work begins, and written atomically."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import UsageError
from common.io.atomic_write import atomic_replacement
from receiver.publish.output_files import output_errors

TIMES_FILE = "times.csv"
"""Of a sequence: number, seconds and file of each mesh."""

_SEQUENCE_FILE = re.compile(rf"frame-\d{{6,}}\.(?:obj|ply)|{re.escape(TIMES_FILE)}")


def sequence_file(number: int, mesh_format: str) -> str:
    """The name of a file of a sequence: `frame-000012.obj`."""
    return f"frame-{number:06d}.{mesh_format}"


def check_destination(path: Path, *, folder: bool, force: bool) -> None:
    """Raises UsageError if an export may not write to a path; `force` lets it replace an earlier one."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}: create it, or give another --output")
    if not os.path.lexists(path):
        return
    if folder != path.is_dir():
        raise UsageError(f"{path} is {'no' if folder else 'a'} folder: give another --output")
    if not force:
        raise UsageError(f"{path} exists: give --force to replace it, or another --output")
    if folder and not all(_SEQUENCE_FILE.fullmatch(entry.name) for entry in path.iterdir()):
        raise UsageError(f"{path} has other files than those of an export: give another --output")


def write_file(path: Path, parts: Iterable[bytes], *, synced: bool = True) -> None:
    """Writes a file that only the user can read, or nothing; on the disk if `synced`. Raises OutputError."""
    with (
        output_errors(path, "--output"),
        atomic_replacement(path) as partial,
        open(partial, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
    ):
        file.writelines(parts)
        if synced:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder that only the user can read, which becomes `path` when the block ends, or is removed when it
    fails. What `path` was before is removed at the end.

    Raises:
        OutputError: the folder cannot be made.
    """
    partial, replaced = (path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial") for _ in range(2))
    with output_errors(path, "--output"):
        partial.mkdir(mode=0o700)
        try:
            yield partial
            if path.is_dir():
                path.rename(replaced)
            partial.rename(path)
        finally:
            for leftover in (partial, replaced):
                shutil.rmtree(leftover, ignore_errors=True)
