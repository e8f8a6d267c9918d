"""Options of the accounts."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class AccountsConfig:
    """Accounts of the web page."""

    sign_up: bool | None = option(
        None, help="let visitors of the web page make accounts (default: on the loopback only)"
    )
    database: str | None = option(
        None, help="PostgreSQL URL of accounts and models, postgresql://user@host/name (default: SQLite in --out)"
    )

    def __post_init__(self) -> None:
        if self.database is not None:
            # Imported here: reading the options need not wait for the libraries of the database.
            from receiver.web.database.database import postgres_url

            postgres_url(self.database)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sign_up={self.sign_up}, database={'…' if self.database else None})"

    def signs_up(self, *, loopback: bool) -> bool:
        """Whether visitors may make accounts.

        Args:
            loopback: only this machine can reach the page.
        """
        return loopback if self.sign_up is None else self.sign_up
