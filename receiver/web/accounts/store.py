"""Accounts, sessions and tokens in the database. Each function is one part of a transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from receiver.web.accounts.names import checked_label, name_key
from receiver.web.accounts.secrets import new_token, secret_hash
from receiver.web.database.tables import AccountRow, ModelRow, SessionRow, TokenRow
from receiver.web.refused import Refused

SESSION_IDLE_S, SESSION_MOST_S = 7 * 86_400.0, 30 * 86_400.0
MAX_SESSIONS, MAX_TOKENS = 32, 50
# The last use is written at most once in this time: reading a page costs no write.
_USE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account."""

    id: int
    name: str


def count_accounts(session: Session) -> int:
    """How many accounts there are."""
    return session.scalar(select(func.count()).select_from(AccountRow)) or 0


def add_account(session: Session, name: str, password_hash: str, now: float) -> Account:
    """Adds an account. Raises Refused (409) if there is one of this name, perhaps in other case."""
    row = AccountRow(name=name, name_key=name_key(name), password_hash=password_hash, created_at=now)
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise Refused(409, "this name is taken: choose another name, or sign in") from error
    return Account(row.id, row.name)


def find_account(session: Session, name: str) -> AccountRow | None:
    """The account of a name in any case."""
    return session.scalar(select(AccountRow).where(AccountRow.name_key == name_key(name)))


def list_accounts(session: Session) -> Sequence[Row[str, float, int, int]]:
    """Name, time, and numbers of tokens and models of all accounts, by name."""
    tokens = select(func.count()).where(TokenRow.account_id == AccountRow.id).scalar_subquery()
    models = select(func.count()).where(ModelRow.account_id == AccountRow.id).scalar_subquery()
    named = select(AccountRow.name, AccountRow.created_at, tokens, models).order_by(AccountRow.name_key)
    return session.execute(named).all()


def remove_account(session: Session, account: Account) -> list[str]:
    """Removes an account with all it has; returns the ids of its models, which still have files."""
    models = list(session.scalars(select(ModelRow.id).where(ModelRow.account_id == account.id)))
    session.execute(delete(AccountRow).where(AccountRow.id == account.id))
    return models


def account_exists(session: Session, account: Account) -> bool:
    """Whether an account was not removed."""
    return session.get(AccountRow, account.id) is not None


def change_password(session: Session, account: Account, password_hash: str) -> None:
    """Replaces a password; who was signed in with the old one is signed out."""
    session.execute(update(AccountRow).where(AccountRow.id == account.id).values(password_hash=password_hash))
    session.execute(delete(SessionRow).where(SessionRow.account_id == account.id))


def add_session(session: Session, account: Account, secret: str, now: float) -> None:
    """Signs a browser in, removes the account's oldest sessions beyond the limit, and all that have expired."""
    idle, old = SessionRow.used_at < now - SESSION_IDLE_S, SessionRow.created_at < now - SESSION_MOST_S
    session.execute(delete(SessionRow).where(idle | old))
    mine = select(SessionRow.token_hash).where(SessionRow.account_id == account.id)
    oldest = list(session.scalars(mine.order_by(SessionRow.used_at.desc()).offset(MAX_SESSIONS - 1)))
    session.execute(delete(SessionRow).where(SessionRow.token_hash.in_(oldest)))
    session.add(SessionRow(token_hash=secret_hash(secret), account_id=account.id, created_at=now, used_at=now))


def find_session(session: Session, secret: str, now: float) -> tuple[Account, bool] | None:
    """The account of a session that has not expired, and whether its use should be written now."""
    found = session.execute(
        select(AccountRow.id, AccountRow.name, SessionRow.used_at)
        .join(SessionRow, SessionRow.account_id == AccountRow.id)
        .where(SessionRow.token_hash == secret_hash(secret))
        .where(SessionRow.used_at >= now - SESSION_IDLE_S, SessionRow.created_at >= now - SESSION_MOST_S)
    ).first()
    return (Account(found.id, found.name), now - found.used_at >= _USE_EVERY_S) if found else None


def use_session(session: Session, secret: str, now: float) -> None:
    """Notes that a session is in use."""
    session.execute(update(SessionRow).where(SessionRow.token_hash == secret_hash(secret)).values(used_at=now))


def remove_session(session: Session, secret: str) -> None:
    """Signs a browser out."""
    session.execute(delete(SessionRow).where(SessionRow.token_hash == secret_hash(secret)))


def add_token(session: Session, account: Account, label: str, now: float) -> tuple[TokenRow, str]:
    """Makes a bearer token; returns it and its secret, which is stored nowhere.

    Raises:
        Refused: 422 the label breaks a rule, which the message says, 409 the account has as many as it may have.
    """
    if (session.scalar(select(func.count()).where(TokenRow.account_id == account.id)) or 0) >= MAX_TOKENS:
        raise Refused(409, f"the account has {MAX_TOKENS} tokens: revoke one first")
    secret = new_token()
    row = TokenRow(
        id=secrets.token_hex(8),
        token_hash=secret_hash(secret),
        account_id=account.id,
        label=checked_label(label),
        created_at=now,
    )
    session.add(row)
    return row, secret


def find_token(session: Session, secret: str, now: float) -> tuple[Account, bool] | None:
    """The account of a bearer token, and whether its use should be written now."""
    found = session.execute(
        select(AccountRow.id, AccountRow.name, TokenRow.used_at)
        .join(TokenRow, TokenRow.account_id == AccountRow.id)
        .where(TokenRow.token_hash == secret_hash(secret))
    ).first()
    return (Account(found.id, found.name), now - (found.used_at or 0.0) >= _USE_EVERY_S) if found else None


def use_token(session: Session, secret: str, now: float) -> None:
    """Notes that a token is in use."""
    session.execute(update(TokenRow).where(TokenRow.token_hash == secret_hash(secret)).values(used_at=now))


def list_tokens(session: Session, account: Account) -> Sequence[TokenRow]:
    """The account's tokens, newest first."""
    mine = select(TokenRow).where(TokenRow.account_id == account.id)
    return session.scalars(mine.order_by(TokenRow.created_at.desc(), TokenRow.id)).all()


def remove_token(session: Session, account: Account, token: str) -> bool:
    """Revokes a token of the account; returns whether there was one."""
    mine = (TokenRow.id == token) & (TokenRow.account_id == account.id)
    return session.execute(delete(TokenRow).where(mine).returning(TokenRow.id)).first() is not None
