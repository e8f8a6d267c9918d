"""Removes an account with all its models."""

from sqlalchemy.orm import Session

from receiver.web.accounts import store
from receiver.web.accounts.store import Account
from receiver.web.database.database import Database
from receiver.web.models.files import ModelFiles


def remove_account(database: Database, files: ModelFiles, account: Account) -> int:
    """Removes an account, its tokens, sessions, links and models; returns the number of models.

    Raises:
        OutputError: the database does not answer; the account is still there then.
    """

    def work(session: Session) -> list[str]:
        models = store.remove_account(session, account)
        for model in models:
            files.prepare_removal(model)
        return models

    models = database.write(work)
    for model in models:
        files.remove(model)
    database.forget()
    return len(models)
