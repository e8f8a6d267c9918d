"""Rows of models in the database. Each function is one part of a transaction."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any

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
