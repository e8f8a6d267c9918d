"""The files of models: `OUT/models/ID/`, whole or not at all.

    OUT/models/ID/person-0.obj, .glb, .ply      surface meshes, y up, metres
    OUT/models/ID/person-0.textured.glb         the surface with its texture, where the person has one
    OUT/models/ID/person-0.body.glb             the body with its texture, where the person has one
    OUT/models/ID/picture.jpg                   the picture, upright
    OUT/models/.ID.pending                      while a model is stored or removed: see below

A model exists when the database has its row. A marker is made before the first file is written or the row is removed,
and removed when files and row agree. What a killed process leaves is a marker: without the row, its files are removed
at the next start; with the row, the files are whole, because they are on the disk before the row is.

Everything is opened relative to its folder, and no link is followed: one in the place of `models` leads nowhere.
"""

import errno
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import OutputError
from receiver.publish.output_files import opened_folder, output_error, output_errors

logger = logging.getLogger(__name__)

MODEL_ID = r"[0-9a-f]{32}"
_FILE = re.compile(r"person-\d{1,3}\.(?:obj|glb|ply|body\.glb|textured\.glb)|picture\.jpg")
_MARKER = re.compile(rf"\.({MODEL_ID})\.pending")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a pipe in the place of a file would block.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def new_model_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def models_folder(out: Path) -> Path:
    """The folder of the models' files in an output directory."""
    return out / "models"


class ModelFiles:
    """The folder of all models.

    Args:
        folder: created if missing, readable for the process's user only.

    Raises:
        OutputError: it cannot be created, or is a link.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with output_errors(folder):
            folder.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with self._opened():
            pass

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """Writes a new model; files and marker are on the disk then. Raises OutputError, and nothing of it remains."""
        with self._opened() as models:
            try:
                _mark(model, models)
                os.mkdir(model, _FOLDER_MODE, dir_fd=models)
                with _folder(model, models) as folder:
                    for name, content in files.items():
                        assert _FILE.fullmatch(name)
                        _write_synced(name, content, folder)
                    os.fsync(folder)
                os.fsync(models)
            except OSError as error:
                _remove(model, models)
                raise output_error(self._folder / model, error) from error

    def settle(self, model: str) -> None:
        """The row of a model that was written is committed."""
        with self._opened() as models:
            _unmark(model, models)

    def prepare_removal(self, model: str) -> None:
        """Call before the row is removed; `remove` follows. On a full disk the marker is left out."""
        try:
            with self._opened() as models:
                _mark(model, models)
                os.fsync(models)
        except OSError as error:
            logger.warning("%s", output_error(self._folder / model, error))

    def remove(self, model: str) -> None:
        """Removes the files of a model without a row; what cannot be removed is left to the next start."""
        with self._opened() as models:
            _remove(model, models)

    def read(self, model: str, name: str) -> bytes | None:
        """The content of a file; None if there is no such file, or no file of a model can have this name."""
        if not re.fullmatch(MODEL_ID, model) or not _FILE.fullmatch(name):
            return None
        try:
            with _folder(self._folder) as models, _folder(model, models) as folder:
                return _content(name, folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"cannot read {self._folder / model / name}: {error.strerror}") from error

    def recover(self, existing: Callable[[Collection[str]], Collection[str]]) -> int:
        """Settles what a killed process has left; returns the number of models whose files were removed.

        Args:
            existing: which of some ids have a row.

        Raises:
            OutputError: the folder cannot be read.
        """
        with self._opened() as models, output_errors(self._folder):
            names = os.listdir(models)
        pending = [match.group(1) for match in map(_MARKER.fullmatch, names) if match]
        kept = set(existing(pending)) if pending else set()
        for model in pending:
            if model in kept:
                self.settle(model)
            else:
                self.remove(model)
        removed = len(pending) - len(kept)
        if removed:
            logger.warning("removed the files of %d uploads that were not finished", removed)
        return removed

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with opened_folder(self._folder, _FOLDER_MODE) as models:
            yield models


@contextmanager
def _folder(path: str | Path, parent: int | None = None) -> Iterator[int]:
    """A folder as a handle. Raises OSError, also for a link."""
    descriptor = os.open(path, _FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _marker(model: str) -> str:
    return f".{model}.pending"


def _mark(model: str, models: int) -> None:
    _write_synced(_marker(model), b"", models, exclusive=False)


def _unmark(model: str, models: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(_marker(model), dir_fd=models)


def _remove(model: str, models: int) -> None:
    shutil.rmtree(model, ignore_errors=True, dir_fd=models)
    try:
        os.stat(model, dir_fd=models, follow_symlinks=False)
    except FileNotFoundError:
        _unmark(model, models)


def _content(name: str, folder: int) -> bytes:
    with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read()


def _write_synced(name: str, content: bytes, folder: int, *, exclusive: bool = True) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if exclusive else 0)
    with open(os.open(name, flags, _FILE_MODE, dir_fd=folder), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
