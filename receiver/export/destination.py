"""The files and folders of an export: named, checked before the work begins, and written atomically."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.errors import UsageError
from common.io.files import atomic_replacement
from receiver.mesh.formats import FORMATS, Export, Format
from receiver.publish.files import check_writable, output_errors

TIMES_FILE = "times.csv"
"""Of a sequence: number, seconds and file of each mesh."""

_SEQUENCE_FILE = re.compile(rf"frame-\d{{6,}}\.(?:obj|ply)|{re.escape(TIMES_FILE)}")


def sequence_file(number: int, mesh_format: str) -> str:
    """The name of a file of a sequence: `frame-000012.obj`."""
    return f"frame-{number:06d}.{mesh_format}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an export goes, as far as that is known before a session is read.

    Args:
        folder: it exists, and can be written.
        name: of the file, or of a sequence's folder, without its ending; None: after the session.
        ending: `.bvh`; of sequences empty.
        force: replace what an earlier export has written.
    """

    folder: Path
    name: str | None
    ending: str
    force: bool

    @classmethod
    def parse(cls, output: str | None, form: Format, *, alone: bool, force: bool) -> Self:
        """The destination of `--output`: a name, or a folder that takes files named after the session.

        Args:
            alone: whether there will be one file, or one folder of a sequence, whatever the session has.

        Raises:
            UsageError: nothing can be written there.
            OutputError: the folder cannot be written.
        """
        path, ending = Path(output or ".").absolute(), "" if form.export is Export.SEQUENCE else f".{form.name}"
        if os.path.isdir(path) and (ending or not _has_sequence(path)):
            path = path.resolve()
            _check_writable(path / f"session{ending}")
            return cls(path, None, ending, force)
        if ending and str(output).endswith(os.sep):
            raise UsageError(f"there is no folder {path}: create it, or give another --output")
        name, ending = _split(path.name, form)
        if os.path.lexists(path) and not path.name.endswith(ending):
            raise UsageError(f"{path} exists, and is no {form.name} file: give another --output")
        destination = cls(path.parent, name, ending, force)
        whole = path.with_name(f"{name}{ending}")
        _check_writable(whole)
        if alone or not ending:
            destination._check_present(whole)
        return destination

    def paths(self, stem: str, form: Format, groups: Mapping[str, Sequence[int]]) -> dict[Path, Sequence[int]]:
        """The paths to write, and who is in each.

        Args:
            stem: what is made of the session is called.
            groups: the people of each file, by what they add to its name.

        Raises:
            UsageError: something is there already.
            OutputError: a path cannot be written.
        """
        if self.name is not None and len(groups) == 1:
            paths = {self.folder / f"{self.name}{self.ending}": people for people in groups.values()}
        elif self.name is not None:
            paths = {self.folder / f"{self.name}{mark}{self.ending}": people for mark, people in groups.items()}
            if not self.ending and os.path.isdir(self.folder / self.name):
                one = self.folder / self.name
                raise UsageError(f"{one} has the meshes of one person, these are {len(groups)}: give another --output")
        else:
            ending = self.ending or f"-{form.name}"
            paths = {self.folder / f"{stem}{mark}{ending}": people for mark, people in groups.items()}
        for path in paths:
            _check_writable(path)
            self._check_present(path)
        return paths

    def _check_present(self, path: Path) -> None:
        """Raises UsageError if something is there that this export may not replace."""
        if not os.path.lexists(path):
            return
        if os.path.isdir(path) == bool(self.ending):
            raise UsageError(f"{path} is {'a' if self.ending else 'no'} folder: give another --output")
        if self.ending and not os.path.isfile(path):
            raise UsageError(f"{path} is no regular file: give another --output")
        if not self.force:
            raise UsageError(f"{path} exists: give --force to replace it, or another --output")
        if not self.ending and not all(map(_SEQUENCE_FILE.fullmatch, _names(path))):
            raise UsageError(f"{path} has other files than those of an export: give another --output")


def _split(name: str, form: Format) -> tuple[str, str]:
    """The name of `--output` without its ending, and the ending. Raises UsageError if it is that of another format."""
    stem, ending = os.path.splitext(name)
    known = ending.removeprefix(".").lower()
    if form.export is Export.SEQUENCE:
        if known in FORMATS and known != form.name:
            raise UsageError(f"--format {form.name} writes a folder: give --output {stem}, or --format {known}")
        return name, ""
    if ending and known != form.name:
        other = f"--format {known}" if known in FORMATS else f"--output {stem}.{form.name}"
        raise UsageError(f"{name} is no name of a {form.name} file: give {other}")
    return stem, ending or f".{form.name}"


def _check_writable(path: Path) -> None:
    """Raises UsageError or OutputError if no file of this name can be made."""
    if not os.path.isdir(path.parent):
        raise UsageError(f"there is no folder {path.parent}: create it, or give another --output")
    check_writable(path, "--output")


def _has_sequence(folder: Path) -> bool:
    return any(map(_SEQUENCE_FILE.fullmatch, _names(folder)))


def _names(folder: Path) -> list[str]:
    with output_errors(folder, "--output"):
        return os.listdir(folder)


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
