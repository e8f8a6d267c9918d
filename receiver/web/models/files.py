"""The files of models: `OUT/models/ID/`, whole or not at all.

    OUT/models/ID/person-0.obj, .glb, .ply      surface meshes, y up, metres
    OUT/models/ID/person-0.body.glb             the body with its texture, where the person has one
    OUT/models/ID/picture.jpg                   the picture, upright
    OUT/models/.ID.pending                      while a model is stored or removed: see below

A model exists when the database has its row. A marker is made before the first file is written or the row is removed,
and removed when files and row agree. What a killed process leaves is a marker: without the row, its files are removed
at the next start; with the row, the files are whole, because they are on the disk before the row is.
"""

import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from common.errors import OutputError
from receiver.publish.output_files import output_error, output_errors

logger = logging.getLogger(__name__)

MODEL_ID = r"[0-9a-f]{32}"
_FILE = re.compile(r"person-\d{1,3}\.(?:obj|glb|ply|body\.glb)|picture\.jpg")
_MARKER = re.compile(rf"\.({MODEL_ID})\.pending")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


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
        OutputError: it cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with output_errors(folder):
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """Writes a new model; files and marker are on the disk then. Raises OutputError, and nothing of it remains."""
        folder = self._folder / model
        try:
            self._mark(model)
            folder.mkdir(mode=_FOLDER_MODE)
            for name, content in files.items():
                assert _FILE.fullmatch(name)
                _write_synced(folder / name, content)
            _sync_folder(folder)
            _sync_folder(self._folder)
        except OSError as error:
            self.remove(model)
            raise output_error(folder, error) from error

    def settle(self, model: str) -> None:
        """The row of a model that was written is committed."""
        self._marker(model).unlink(missing_ok=True)

    def prepare_removal(self, model: str) -> None:
        """Call before the row is removed; `remove` follows. On a full disk the marker is left out."""
        try:
            self._mark(model)
            _sync_folder(self._folder)
        except OSError as error:
            logger.warning("%s", output_error(self._folder / model, error))

    def remove(self, model: str) -> None:
        """Removes the files of a model without a row; what cannot be removed is left to the next start."""
        shutil.rmtree(self._folder / model, ignore_errors=True)
        if not (self._folder / model).exists():
            self._marker(model).unlink(missing_ok=True)

    def read(self, model: str, name: str) -> bytes | None:
        """The content of a file; None if there is no such file, or no file of a model can have this name."""
        if not re.fullmatch(MODEL_ID, model) or not _FILE.fullmatch(name):
            return None
        try:
            return (self._folder / model / name).read_bytes()
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
        with output_errors(self._folder):
            names = os.listdir(self._folder)
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

    def _marker(self, model: str) -> Path:
        return self._folder / f".{model}.pending"

    def _mark(self, model: str) -> None:
        _write_synced(self._marker(model), b"", exclusive=False)


def _write_synced(path: Path, content: bytes, *, exclusive: bool = True) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if exclusive else 0)
    with open(os.open(path, flags, _FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
