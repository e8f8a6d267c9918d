"""Whose the sessions are that the page makes, of browsers' cameras and uploaded clips; removal of accounts with them.

An account's sessions may be live when it is removed, or belong to a receiver that runs beside the command. So the
database keeps the names of accounts whose sessions are to be deleted, and whoever has the directory deletes them.
"""

import hashlib
import re
from pathlib import Path

from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionInUse, SessionState
from receiver.web.accounts import store
from receiver.web.accounts.store import Account
from receiver.web.database import Database
from receiver.web.models.store import ModelFiles, list_models, models_folder

CAMERA, CLIP = "browser-camera", "clip"
"""Kinds of sessions that belong to an account."""
_SUBJECT = re.compile(rf"token:({CAMERA}|{CLIP})-of-([0-9a-f]{{40}})")


def owner_of(kind: str, account: str) -> str:
    """Under which name of a token the sessions of this kind of an account are recorded."""
    return f"{kind}-of-{account_key(account)}"


def account_key(account: str) -> str:
    """A name as tokens may have it: names of accounts have letters that those of tokens cannot have."""
    return hashlib.sha256(account.encode()).hexdigest()[:40]


def key_of_session(state: SessionState) -> str | None:
    """The key of the account that has made a session on the page; None if there is none."""
    return _kind_and_key(state)[1]


def is_clip(state: SessionState) -> bool:
    """Whether a session is an uploaded clip, which only its account may see, as its pictures."""
    return _kind_and_key(state)[0] == CLIP


def _kind_and_key(state: SessionState) -> tuple[str, str] | tuple[None, None]:
    match = _SUBJECT.fullmatch(state.owner.subject) if state.owner else None
    return (match[1], match[2]) if match else (None, None)


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
