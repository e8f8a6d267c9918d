"""Models on the disk and in the database. Each function of rows is one part of a transaction.

The files of models: `OUT/models/ID/`, whole or not at all.

    OUT/models/ID/person-0.obj, .glb, .ply      surface meshes, y up, metres
    OUT/models/ID/person-0.textured.glb         the surface with its texture, where the person has one
    OUT/models/ID/person-0.body.glb             the body with its texture, where the person has one
    OUT/models/ID/picture.jpg                   the picture, upright
    OUT/models/.ID/…                            the same while the model is stored or removed

A model exists when the database has its row, and its folder loses the dot then. What a killed process leaves has the
dot: with the row it is whole, because files are on the disk before the row is, and without it goes at the next start.

A link in the place of `models` or of a file leads nowhere.
"""

import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any

from common.errors import OutputError
from common.io.files import atomic_write, open_regular
from common.weights.threads import side_by_side
from receiver.publish.files import opened_folder, output_errors
from receiver.web.accounts.store import Account, account_exists


@dataclass(slots=True)
class ModelRow:
    """The people of an uploaded picture, and what the picture was; see `receiver.web.models.api.ModelShown`."""

    id: str
    name: str
    created_at: float
    width: int
    height: int
    label_bytes: int
    people: list[dict[str, Any]]
    stages_ms: dict[str, float]

    @property
    def hidden(self) -> list[int]:
        """Places in `people` of those whom somebody has taken out."""
        return [number for number, person in enumerate(self.people) if person.get("hidden")]


def count_models(database: Connection, account: Account) -> int:
    """How many models an account keeps."""
    return int(database.execute("SELECT count(*) FROM models WHERE account_id = ?", (account.id,)).fetchone()[0])


def add_model(database: Connection, account: Account, model: ModelRow, most: int) -> bool:
    """Adds a model whose files are on disk; returns whether the account is still there and has room for it."""
    if not account_exists(database, account) or count_models(database, account) >= most:
        return False
    about = (model.id, account.id, model.name, model.created_at, model.width, model.height, model.label_bytes)
    described = json.dumps(model.people), json.dumps(model.stages_ms)
    database.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*about, *described))
    return True


def list_models(database: Connection, account: Account) -> list[Row]:
    """The account's models, newest first: of each its id, name, time, number of people who are in it, and bytes."""
    return database.execute(
        "SELECT id, name, created_at, label_bytes AS bytes,"
        " (SELECT count(*) FROM json_each(people) WHERE NOT coalesce(json_extract(value, '$.hidden'), 0)) AS people"
        " FROM models"
        " WHERE account_id = ? ORDER BY created_at DESC, id",
        (account.id,),
    ).fetchall()


def find_model(database: Connection, account: Account, model: str) -> ModelRow | None:
    """A model of the account; None if there is none, or if it is somebody else's."""
    mine = (model, account.id)
    row = database.execute("SELECT * FROM models WHERE id = ? AND account_id = ?", mine).fetchone()
    if row is None:
        return None
    fields = {name: row[name] for name in ModelRow.__slots__}
    return ModelRow(**fields | {name: json.loads(row[name]) for name in ("people", "stages_ms")})


def hide_people(database: Connection, account: Account, model: str, hidden: Collection[int]) -> None:
    """Takes people out of a model of the account; those with other places come back."""
    if (row := find_model(database, account, model)) is not None:
        people = [{**person, "hidden": number in hidden} for number, person in enumerate(row.people)]
        database.execute("UPDATE models SET people = ? WHERE id = ?", (json.dumps(people), model))


def remove_model(database: Connection, account: Account, model: str) -> bool:
    """Removes the row of a model of the account; returns whether there was one."""
    removed = database.execute("DELETE FROM models WHERE id = ? AND account_id = ?", (model, account.id))
    return removed.rowcount > 0


def existing_models(database: Connection, models: Collection[str]) -> set[str]:
    """Which of the ids have a row."""
    return {row["id"] for row in database.execute("SELECT id FROM models")}.intersection(models)


logger = logging.getLogger(__name__)

MODEL_ID = r"[0-9a-f]{32}"
_FILE = re.compile(r"person-\d{1,3}\.(?:obj|glb|ply|body\.glb|textured\.glb)|picture\.jpg")
_HIDDEN = re.compile(rf"\.({MODEL_ID})")
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
        OutputError: it cannot be created, or is a link.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with output_errors(folder):
            folder.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with self._opened():
            pass

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """Writes a new model, for `settle`; it is on the disk then. Raises OutputError, and nothing of it remains."""
        hidden = self._folder / f".{model}"
        with self._opened() as models:
            try:
                hidden.mkdir(_FOLDER_MODE)
                # Each waits for the disk.
                for error in list(side_by_side(_written, [(hidden / name, files[name]) for name in files])):
                    if error is not None:
                        raise error
                with opened_folder(hidden, _FOLDER_MODE) as folder:
                    os.fsync(folder)
                os.fsync(models)
            except BaseException:
                shutil.rmtree(hidden, ignore_errors=True)
                raise

    def settle(self, model: str) -> None:
        """The model has a row: shows its files. Raises OutputError."""
        self._rename(f".{model}", model)

    @contextmanager
    def removal(self, models: Collection[str]) -> Iterator[None]:
        """A block that removes the rows of models, whose files go with them, or stay if it raises."""
        for model in models:
            self._rename(model, f".{model}")
        try:
            yield
        except BaseException:
            for model in models:
                self.settle(model)
            raise
        for model in models:
            self.remove(model)

    def remove(self, model: str) -> None:
        """Removes the files of a model without a row; what cannot be removed is left to the next start."""
        self._rename(model, f".{model}")
        shutil.rmtree(self._folder / f".{model}", ignore_errors=True)

    def read(self, model: str, name: str) -> bytes | None:
        """The content of a file; None if there is no such file, or no file of a model can have this name."""
        if not re.fullmatch(MODEL_ID, model) or not _FILE.fullmatch(name):
            return None
        try:
            with opened_folder(self._folder, _FOLDER_MODE), open_regular(self._folder / model / name) as file:
                return file.read()
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
        with self._opened() as models:
            names = os.listdir(models)
        hidden = [match[1] for match in map(_HIDDEN.fullmatch, names) if match]
        kept = set(existing(hidden)) if hidden else set()
        for model in hidden:
            if model in kept:
                self.settle(model)
            else:
                self.remove(model)
        removed = len(hidden) - len(kept)
        if removed:
            logger.warning("removed the files of %d uploads that were not finished", removed)
        return removed

    def _rename(self, old: str, new: str) -> None:
        with self._opened() as models, suppress(FileNotFoundError):
            (self._folder / old).rename(self._folder / new)
            os.fsync(models)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with opened_folder(self._folder, _FOLDER_MODE) as models, output_errors(self._folder):
            yield models


def _written(path: Path, content: bytes) -> OSError | None:
    """Writes a file; returns the error instead of raising it, so that nobody is still writing when one is reported."""
    assert _FILE.fullmatch(path.name)
    try:
        atomic_write(path, content, mode=_FILE_MODE)
    except OSError as error:
        return error
    return None
