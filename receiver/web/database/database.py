"""The database of accounts and models: SQLite in the output directory, or PostgreSQL.

Every call is one transaction in a worker thread, so that the event loop never waits for the disk or the network.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from common.errors import OutputError, UsageError
from receiver.web.database.migrations.upgrade import upgrade

T = TypeVar("T")

_THREADS = 4
_WAIT_S = 10
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_WRITES = "bodywire_writes"


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


class Database:
    """An open database with the schema of this version; a context manager.

    Args:
        engine: of SQLAlchemy.
        place: how messages name the database; without password.

    Raises:
        UsageError: its schema is of a newer version.
        DatabaseUnavailable: it cannot be opened.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine, self._place = engine, place
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="database")
        try:
            with self._transaction(writes=True) as session:
                upgrade(session.connection(), place)
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
        place = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
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
        return cls(engine, place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finishes the transactions in hand and closes the connections."""
        self._threads.shutdown()
        self._engine.dispose()

    def read(self, work: Callable[[Session], T]) -> T:
        """Runs a transaction that changes nothing, in this thread.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
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
            raise DatabaseUnavailable(f"cannot use the database {self._place}: {_reason(error)}") from error


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
