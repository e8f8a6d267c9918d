"""Removes accounts with all that is theirs.

An account's sessions may be live when it is removed, or belong to a receiver that runs beside the command. So the
database keeps the names of accounts whose sessions are to be deleted, and whoever has the directory deletes them.
"""

from pathlib import Path

from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionInUse
from receiver.web.accounts import store
from receiver.web.accounts.store import Account
from receiver.web.database import Database
from receiver.web.models.store import ModelFiles, list_models, models_folder
from receiver.web.owners import account_key, key_of_session


def remove_account(database: Database, out: Path, account: Account, now: float) -> int:
    """Removes an account, its tokens, browsers and models, and notes that its sessions are to be deleted.

    Returns:
        the number of models.

    Raises:
        OutputError: the disk cannot be written, or the database does not answer; the account is still there then.
    """
    models = [row["id"] for row in database.read(list_models, account)]
    files = ModelFiles(models_folder(out))
    with files.removal(models):
        removed = database.write(store.remove_account, account, now)
    for model in removed:  # one may have been added meanwhile
        files.remove(model)
    return len(removed)


def delete_sessions_of_removed(directory: SessionDirectory, database: Database) -> None:
    """Deletes the sessions of accounts that were removed; those in use stay until the next time. Raises OutputError."""
    for name, removed_at in database.read(store.list_removed):
        # An account that was made later may have the same name.
        found = [
            state.number
            for state in directory.sessions()
            if key_of_session(state) == account_key(name) and state.statistics.began_at <= removed_at
        ]
        try:
            directory.delete(found)
        except SessionInUse:
            continue
        database.write(store.forget_removed, name, removed_at)
