"""Rows of models in the database. Each function is one part of a transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, load_only

from receiver.web.accounts.store import Account, account_exists
from receiver.web.database.tables import ModelRow


def count_models(session: Session, account: Account) -> int:
    """How many models an account keeps."""
    return session.scalar(select(func.count()).where(ModelRow.account_id == account.id)) or 0


def add_model(session: Session, account: Account, model: ModelRow, most: int) -> bool:
    """Adds a model whose files are on disk; returns whether the account is still there and has room for it."""
    if not account_exists(session, account) or count_models(session, account) >= most:
        return False
    model.account_id = account.id
    session.add(model)
    return True


def list_models(session: Session, account: Account) -> Sequence[ModelRow]:
    """The account's models, newest first; of each, what a list shows."""
    return session.scalars(
        select(ModelRow)
        .where(ModelRow.account_id == account.id)
        .order_by(ModelRow.created_at.desc(), ModelRow.id)
        .options(load_only(ModelRow.name, ModelRow.created_at, ModelRow.people_count, ModelRow.label_bytes))
    ).all()


def find_model(session: Session, account: Account, model: str) -> ModelRow | None:
    """A model of the account; None if there is none, or if it is somebody else's."""
    return session.scalar(select(ModelRow).where(ModelRow.id == model, ModelRow.account_id == account.id))


def remove_model(session: Session, account: Account, model: str) -> bool:
    """Removes the row of a model of the account; returns whether there was one."""
    mine = (ModelRow.id == model) & (ModelRow.account_id == account.id)
    return session.execute(delete(ModelRow).where(mine).returning(ModelRow.id)).first() is not None


def existing_models(session: Session, models: Collection[str]) -> list[str]:
    """Which of the ids have a row."""
    return list(session.scalars(select(ModelRow.id).where(ModelRow.id.in_(models))))
