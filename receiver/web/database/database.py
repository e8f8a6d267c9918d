"""The database of accounts and models: SQLite in the output directory, or PostgreSQL.

Every call is one transaction in a worker thread, so that the event loop never waits for the disk or the network.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from common.errors import OutputError, UsageError
from receiver.web.database.tables import SCHEMA, Base, SchemaRow

T = TypeVar("T")

_THREADS = 4
_WAIT_S = 10
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_WRITES = "bodywire_writes"
# Any number that other programs do not lock in the same database.
_LOCK = 0x626F6479
# The first schema; the next has more tables.
_WITHOUT_LINKS = "0001"


class DatabaseUnavailable(OutputError):
    """The database cannot be opened or reached, or does not answer in time."""


def postgres_url(text: str) -> URL:
    """The URL of a PostgreSQL database, for the driver that Bodywire uses.

    Raises:
        ValueError: it is no such URL; the message does not quote it, because it may contain a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", "postgresql+psycopg") or not url.database:
        raise ValueError("--database is not a URL such as postgresql://user@host/name") from None
    return url.set(drivername="postgresql+psycopg")


def open_database(url: str | None, out: Path) -> "Database":
    """Opens the PostgreSQL database at a URL, or without one the SQLite database of an output directory.

    Raises:
        UsageError: its schema is of a newer version, or its driver is missing.
        DatabaseUnavailable: it cannot be opened.
    """
    return Database.open_sqlite(out / "accounts") if url is None else Database.open_postgres(postgres_url(url))


class Database:
    """An open database with the schema of this version; a context manager.

    Args:
        name: how messages name the database; without password.

    Raises:
        UsageError: its schema is of a newer version.
        DatabaseUnavailable: it cannot be opened.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="database")
        try:
            with self._transaction(writes=True) as session:
                _make_tables(session.connection(), name)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open_sqlite(cls, folder: Path) -> Self:
        """Opens or creates `accounts.sqlite3` in a folder that only the process's user can read."""
        path = folder / "accounts.sqlite3"
        try:
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            # SQLite gives its journal the permissions of the database, which has to exist with the right ones.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        except OSError as error:
            raise DatabaseUnavailable(f"cannot open {path}: {error.strerror}") from error
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            pool_size=_THREADS,
            max_overflow=0,
            pool_timeout=_WAIT_S,
            connect_args={"timeout": _WAIT_S},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        with _alone_in(folder):
            return cls(engine, str(path))

    @classmethod
    def open_postgres(cls, url: URL) -> Self:
        """Connects to a PostgreSQL database; see `postgres_url`."""
        name = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
        try:
            engine = create_engine(
                url,
                pool_size=_THREADS,
                max_overflow=0,
                pool_timeout=_WAIT_S,
                pool_pre_ping=True,
                connect_args={"connect_timeout": _WAIT_S, "options": f"-c statement_timeout={_WAIT_S}s"},
            )
        except ImportError as error:
            raise UsageError("--database needs psycopg: pip install 'bodywire[postgres]'") from error
        return cls(engine, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finishes the transactions in hand and closes the connections."""
        self._threads.shutdown()
        self._engine.dispose()

    def read(self, work: Callable[[Session], T]) -> T:
        """Runs a transaction that changes nothing, in this thread. Raises DatabaseUnavailable if there is no answer."""
        with self._transaction(writes=False) as session:
            return work(session)

    def write(self, work: Callable[[Session], T]) -> T:
        """Runs a transaction in this thread; it is committed when this returns, and rolled back if `work` raises.

        Raises:
            DatabaseUnavailable: the database does not answer, or cannot be written.
            IntegrityError: of SQLAlchemy: `work` breaks a constraint and does not handle it.
        """
        with self._transaction(writes=True) as session:
            return work(session)

    def forget(self) -> None:
        """Overwrites what was deleted in SQLite's journal too; PostgreSQL has its own vacuum and archives.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        if self._engine.dialect.name != "sqlite":
            return
        try:
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        except (DBAPIError, sqlite3.Error, PoolTimeout) as error:
            raise DatabaseUnavailable(f"cannot use the database {self._name}: {error}") from error

    async def read_async(self, work: Callable[[Session], T]) -> T:
        """`read` in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read, work)

    async def write_async(self, work: Callable[[Session], T]) -> T:
        """`write` in a worker thread; a caller that is cancelled does not stop it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.write, work)

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
            raise DatabaseUnavailable(f"cannot use the database {self._name}: {_reason(error)}") from error


def _make_tables(connection: Connection, name: str) -> None:
    """Makes the tables in a new database, one process at a time.

    SQLite locks with the transaction, which must be one that writes; PostgreSQL gets a lock until its end.

    Raises:
        UsageError: the schema is of a newer version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    known = inspect(connection).has_table(SchemaRow.__tablename__)
    version = connection.scalar(select(SchemaRow.version_num)) if known else None
    if version is None or version == _WITHOUT_LINKS:
        Base.metadata.create_all(connection)
        connection.execute(delete(SchemaRow))
        connection.execute(insert(SchemaRow).values(version_num=SCHEMA))
    elif version != SCHEMA:
        raise UsageError(
            f"a newer version has written the database {name} (schema {version}): "
            "update Bodywire, or restore the database from a backup"
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lets one process at a time open the database: SQLite does not wait when a new one changes to WAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _reason(error: DBAPIError | PoolTimeout) -> str:
    """The driver's message; a statement and its parameters are no business of a log."""
    text = str(error.orig) if isinstance(error, DBAPIError) else "all connections are in use"
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver would begin transactions itself, and only before some statements.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    """Locks at once for writing: a reader that becomes a writer fails where another one has written meanwhile."""
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
