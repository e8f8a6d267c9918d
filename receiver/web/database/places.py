"""Where an output directory keeps its accounts and models."""

from pathlib import Path

from receiver.web.accounts.config import AccountsConfig
from receiver.web.database.database import Database, postgres_url


def open_database(config: AccountsConfig, out: Path) -> Database:
    """Opens the database of an output directory, or the one that the configuration names.

    Raises:
        UsageError: its schema is of a newer version, or its driver is missing.
        DatabaseUnavailable: it cannot be opened.
    """
    if config.database is not None:
        return Database.open_postgres(postgres_url(config.database))
    return Database.open_sqlite(out / "accounts")


def models_folder(out: Path) -> Path:
    """The folder of the models' files."""
    return out / "models"
