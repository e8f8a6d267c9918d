"""Removes accounts with all that is theirs.

An account's sessions may be live or read when it is removed, or belong to a receiver that runs beside the command. So a
note in the output directory says that they are to be deleted, and whoever has the directory deletes them.
"""

from pathlib import Path

from common.io.regular_file import read_regular
from receiver.publish.output_files import output_errors, publish_file
from receiver.publish.session_deletion import SessionInUse
from receiver.publish.session_directory import SessionDirectory
from receiver.web.accounts import store
from receiver.web.accounts.store import Account
from receiver.web.database.database import Database
from receiver.web.models.files import ModelFiles, models_folder
from receiver.web.models.store import list_models
from receiver.web.owners import account_key, key_of_session

_NOTE = ".removed-account-"
_MOST_BYTES = 100


def remove_account(database: Database, out: Path, account: Account, now: float) -> int:
    """Removes an account, its tokens, browsers and models, and notes that its sessions are to be deleted.

    Returns:
        the number of models.

    Raises:
        OutputError: the disk cannot be written, or the database does not answer; the account is still there then.
    """
    publish_file(out / f"{_NOTE}{account_key(account.name)}", str(now).encode())
    models = [row["id"] for row in database.read(list_models, account)]
    files = ModelFiles(models_folder(out))
    with files.removal(models):
        removed = database.write(store.remove_account, account)
    for model in removed:  # one may have been added meanwhile
        files.remove(model)
    return len(removed)


def delete_sessions_of_removed(directory: SessionDirectory, database: Database) -> None:
    """Deletes the sessions of accounts that were removed; those in use stay until the next time. Raises OutputError."""
    out = directory.config.out
    for note in out.glob(f"{_NOTE}*"):
        key = note.name.removeprefix(_NOTE)
        try:
            removed_at = float(read_regular(note, _MOST_BYTES))
        except (OSError, ValueError):  # no receiver has written it
            continue
        if _is_there(database, key, removed_at) or _deleted(directory, key, removed_at):
            with output_errors(note):
                note.unlink(missing_ok=True)


def _is_there(database: Database, key: str, removed_at: float) -> bool:
    """Whether the removal has failed; an account that was made later may have the same name."""
    accounts = database.read(store.list_accounts)
    return any(account_key(name) == key and created_at <= removed_at for name, created_at, *_ in accounts)


def _deleted(directory: SessionDirectory, key: str, removed_at: float) -> bool:
    found = [s for s in directory.sessions() if key_of_session(s) == key and s.statistics.began_at <= removed_at]
    try:
        if found:
            directory.delete([state.number for state in found])
    except SessionInUse:
        return False
    return True
