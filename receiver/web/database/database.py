"""The database of accounts and models: SQLite in the output directory.

Every call is one transaction. The async ones run in a worker thread, so that the event loop never waits for the disk.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import URL, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from common.errors import OutputError, UsageError
from receiver.web.database.tables import SCHEMA, Base

P = ParamSpec("P")
T = TypeVar("T")

_WAIT_S = 10
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_WRITES = "bodywire_writes"


class DatabaseUnavailable(OutputError):
    """The database cannot be opened, or does not answer in time."""


class Database:
    """The database of an output directory, created if missing; a context manager.

    Only the process's user can read its folder, `accounts`.

    Raises:
        UsageError: another version of Bodywire has made its tables.
        DatabaseUnavailable: it cannot be opened.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / "accounts" / "accounts.sqlite3"
        try:
            self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            # SQLite gives its journal the permissions of the database, which has to exist with the right ones.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        except OSError as error:
            raise DatabaseUnavailable(f"cannot open {self._path}: {error.strerror}") from error
        self._engine = create_engine(
            URL.create("sqlite", database=str(self._path)), connect_args={"timeout": _WAIT_S}, pool_timeout=_WAIT_S
        )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        try:
            self.write(self._make_tables)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def read(self, work: Callable[Concatenate[Session, P], T], *given: P.args, **named: P.kwargs) -> T:
        """Runs a transaction that changes nothing, in this thread. Raises DatabaseUnavailable if there is no answer."""
        with self._transaction(writes=False) as session:
            return work(session, *given, **named)

    def write(self, work: Callable[Concatenate[Session, P], T], *given: P.args, **named: P.kwargs) -> T:
        """Runs a transaction in this thread; it is committed when this returns, and rolled back if `work` raises.

        Raises:
            DatabaseUnavailable: the database does not answer, or cannot be written.
            IntegrityError: of SQLAlchemy: `work` breaks a constraint and does not handle it.
        """
        with self._transaction(writes=True) as session:
            return work(session, *given, **named)

    async def read_async(self, work: Callable[Concatenate[Session, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`read` in a worker thread."""
        return await asyncio.to_thread(lambda: self.read(work, *given, **named))

    async def write_async(self, work: Callable[Concatenate[Session, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`write` in a worker thread; a caller that is cancelled does not stop it."""
        return await asyncio.to_thread(lambda: self.write(work, *given, **named))

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Session]:
        try:
            with (
                self._engine.connect().execution_options(**{_WRITES: writes}) as connection,
                Session(connection, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout) as error:
            # A statement and its parameters are no business of a log.
            reason = str(error.orig) if isinstance(error, DBAPIError) else "all connections are in use"
            raise DatabaseUnavailable(f"cannot use the database {self._path}: {reason}") from error

    def _make_tables(self, session: Session) -> None:
        connection = session.connection()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if version == 0 and not inspect(connection).get_table_names():
            Base.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
        elif version != SCHEMA:
            raise UsageError(
                f"another version of Bodywire has made the database {self._path}: "
                f"use that version, or move the folder {self._path.parent} away"
            )


def _prepare(connection: Any, _: object) -> None:
    # The driver would begin transactions itself, and only before some statements.
    connection.isolation_level = None
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Any) -> None:
    """Locks at once for writing: a reader that becomes a writer fails where another one has written meanwhile."""
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
