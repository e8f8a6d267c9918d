"""Rows of models in the database. Each function is one part of a transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, load_only

from receiver.web.accounts.store import Account, lock_account
from receiver.web.database.tables import AccountRow, ModelRow


class TooManyModels(Exception):
    """The account keeps as many models as it may."""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model in a list.

    Args:
        created_at: seconds since the epoch.
        people: number of people.
        label_bytes: size of the packet that the people travelled in.
    """

    id: str
    name: str
    created_at: float
    people: int
    label_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """An uploaded picture's people.

    Args:
        width, height: of the upright picture, pixels.
        people: `keypoints_2d` and `joints_3d` of each, and whether there is a `textured_body`; most prominent first.
        stages_ms: milliseconds by stage.
    """

    summary: ModelSummary
    width: int
    height: int
    people: list[dict[str, Any]]
    stages_ms: dict[str, float]


def count_models(session: Session, account: Account) -> int:
    """How many models an account keeps."""
    return session.scalar(select(func.count()).where(ModelRow.account_id == account.id)) or 0


def add_model(session: Session, account: Account, model: Model, most: int) -> None:
    """Adds a model whose files are on the disk.

    Raises:
        TooManyModels: the account keeps as many as it may, or was removed meanwhile.
    """
    lock_account(session, account)
    if session.get(AccountRow, account.id) is None or count_models(session, account) >= most:
        raise TooManyModels
    summary = model.summary
    session.add(
        ModelRow(
            id=summary.id,
            account_id=account.id,
            name=summary.name,
            created_at=summary.created_at,
            width=model.width,
            height=model.height,
            label_bytes=summary.label_bytes,
            people_count=summary.people,
            people=model.people,
            stages_ms=model.stages_ms,
        )
    )


def list_models(session: Session, account: Account) -> list[ModelSummary]:
    """The account's models, newest first."""
    rows = session.scalars(
        select(ModelRow)
        .where(ModelRow.account_id == account.id)
        .order_by(ModelRow.created_at.desc(), ModelRow.id)
        .options(load_only(ModelRow.name, ModelRow.created_at, ModelRow.people_count, ModelRow.label_bytes))
    )
    return [_summary(row) for row in rows]


def find_model(session: Session, account: Account, model: str) -> Model | None:
    """A model of the account; None if there is none, or if it is somebody else's."""
    row = session.scalar(select(ModelRow).where(ModelRow.id == model, ModelRow.account_id == account.id))
    return Model(_summary(row), row.width, row.height, row.people, row.stages_ms) if row else None


def has_model(session: Session, account: Account, model: str) -> bool:
    """Whether the account has this model."""
    found = session.scalar(select(ModelRow.id).where(ModelRow.id == model, ModelRow.account_id == account.id))
    return found is not None


def remove_model(session: Session, account: Account, model: str) -> bool:
    """Removes the row of a model of the account; returns whether there was one."""
    mine = (ModelRow.id == model) & (ModelRow.account_id == account.id)
    return session.execute(delete(ModelRow).where(mine).returning(ModelRow.id)).first() is not None


def existing_models(session: Session, models: Collection[str]) -> list[str]:
    """Which of the ids have a row."""
    return list(session.scalars(select(ModelRow.id).where(ModelRow.id.in_(models))))


def _summary(row: ModelRow) -> ModelSummary:
    return ModelSummary(row.id, row.name, row.created_at, row.people_count, row.label_bytes)
