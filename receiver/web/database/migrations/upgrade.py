"""Brings a database to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from common.errors import UsageError

# Any number that other programs do not lock in the same database.
_LOCK = 0x626F6479


def upgrade(connection: Connection, place: str) -> None:
    """Applies the missing migrations in the connection's transaction, one process at a time.

    SQLite locks with the transaction, which must be one that writes; PostgreSQL gets a lock until its end.

    Args:
        connection: within a transaction.
        place: names the database in messages.

    Raises:
        UsageError: the schema is of a newer version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    if not present <= known:
        raise UsageError(
            f"a newer version has written the database {place} (schema {', '.join(sorted(present - known))}): "
            "update Bodywire, or restore the database from a backup"
        )
    command.upgrade(config, "head")
