"""The database of accounts and models: SQLite in the output directory.

Every call is one transaction on a connection of its own. The async ones run in a worker thread, so that the event loop
never waits for the disk.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Concatenate, ParamSpec, TypeVar

from common.errors import OutputError, UsageError
from receiver.publish.files import output_errors

P = ParamSpec("P")
T = TypeVar("T")

_WAIT_S = 10.0
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_PRAGMAS = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON"

SCHEMA = 2
"""Version of the tables; 0 is a new file."""

# Times are seconds since the epoch; secrets are stored as SHA-256. A number of an account is never given again: what
# belonged to a removed account must not fall to a new one.
_TABLES = """
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at REAL NOT NULL
);
-- Browsers that are signed in, by their cookie, and programs, by a bearer token that has a label.
CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    account_id INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
    label TEXT,
    created_at REAL NOT NULL,
    used_at REAL
);
CREATE INDEX secrets_of_account ON secrets (account_id);
-- Accounts whose sessions are still to be deleted.
CREATE TABLE removed (
    name TEXT NOT NULL,
    removed_at REAL NOT NULL
);
-- Uploaded pictures' people; their meshes are files in the folder of the model's id.
CREATE TABLE models (
    id TEXT PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    label_bytes INTEGER NOT NULL,
    people TEXT NOT NULL,
    stages_ms TEXT NOT NULL
);
CREATE INDEX models_of_account ON models (account_id);
"""


class DatabaseUnavailable(OutputError):
    """The database cannot be read or written, or does not answer in time."""


class Database:
    """The database of an output directory, created if missing.

    Only the process's user can read its folder, `accounts`.

    Raises:
        UsageError: another version of Bodywire has made its tables.
        OutputError: it cannot be opened.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / "accounts" / "accounts.sqlite3"
        with output_errors(self._path):
            self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            # SQLite gives its journal the permissions of the database, which has to exist with the right ones.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        self.write(self._make_tables)

    def read(self, work: Callable[Concatenate[Connection, P], T], *given: P.args, **named: P.kwargs) -> T:
        """Runs a transaction that changes nothing, in this thread. Raises DatabaseUnavailable if there is no answer."""
        with self._transaction("BEGIN") as connection:
            return work(connection, *given, **named)

    def write(self, work: Callable[Concatenate[Connection, P], T], *given: P.args, **named: P.kwargs) -> T:
        """Runs a transaction in this thread; it is committed when this returns, and rolled back if `work` raises.

        Raises:
            DatabaseUnavailable: the database does not answer, or cannot be written.
            IntegrityError: of SQLite: `work` breaks a constraint and does not handle it.
        """
        # Locked at once: a reader that becomes a writer fails where another one has written meanwhile.
        with self._transaction("BEGIN IMMEDIATE") as connection:
            return work(connection, *given, **named)

    async def read_async(self, work: Callable[Concatenate[Connection, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`read` in a worker thread."""
        return await asyncio.to_thread(lambda: self.read(work, *given, **named))

    async def write_async(self, work: Callable[Concatenate[Connection, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`write` in a worker thread; a caller that is cancelled does not stop it."""
        return await asyncio.to_thread(lambda: self.write(work, *given, **named))

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        try:
            # The driver leaves transactions to us; `with connection` commits or rolls back.
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.executescript(_PRAGMAS)
                connection.execute(begin)
                with connection:
                    yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot use the database {self._path}: {error}") from error

    def _make_tables(self, connection: Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            for statement in (*_TABLES.split(";\n"), f"PRAGMA user_version = {SCHEMA}"):
                connection.execute(statement)
        elif version != SCHEMA:
            raise UsageError(
                f"another version of Bodywire has made the database {self._path}: "
                f"use that version, or move the folder {self._path.parent} away"
            )
