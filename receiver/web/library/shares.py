"""Links to recorded sessions in the database. Each function is one part of a transaction."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from receiver.web.accounts.secrets import new_session_secret, secret_hash
from receiver.web.database.tables import ShareRow

MAX_SHARES = 50


class TooManyShares(Exception):
    """The session has as many links as it may have."""


@dataclass(frozen=True, slots=True)
class Share:
    """A new link; its secret, 256 random bits, is stored nowhere."""

    id: str
    secret: str
    created_at: float
    expires_at: float


def add_share(session: Session, session_id: str, account: int | None, now: float, lasts_s: float) -> Share:
    """Adds a link, and removes all that have expired. Raises TooManyShares."""
    session.execute(delete(ShareRow).where(ShareRow.expires_at <= now))
    if (session.scalar(select(func.count()).where(ShareRow.session_id == session_id)) or 0) >= MAX_SHARES:
        raise TooManyShares
    secret = new_session_secret()
    digest = secret_hash(secret)
    assert digest is not None
    share = Share(secrets.token_hex(8), secret, now, now + lasts_s)
    session.add(
        ShareRow(
            id=share.id,
            token_hash=digest,
            session_id=session_id,
            account_id=account,
            created_at=now,
            expires_at=share.expires_at,
        )
    )
    return share


def find_shared(session: Session, token_hash: bytes, now: float) -> str | None:
    """The session of a link that has not expired."""
    found = select(ShareRow.session_id).where(ShareRow.token_hash == token_hash, ShareRow.expires_at > now)
    return session.scalar(found)


def list_shares(session: Session, session_id: str, now: float) -> Sequence[ShareRow]:
    """The links of a session that have not expired, newest first."""
    valid = select(ShareRow).where(ShareRow.session_id == session_id, ShareRow.expires_at > now)
    return session.scalars(valid.order_by(ShareRow.created_at.desc(), ShareRow.id)).all()


def remove_share(session: Session, session_id: str, share: str) -> bool:
    """Revokes a link of a session; returns whether there was one."""
    found = delete(ShareRow).where(ShareRow.id == share, ShareRow.session_id == session_id).returning(ShareRow.id)
    return session.execute(found).first() is not None


def remove_shares(session: Session, session_ids: Collection[str]) -> None:
    """Revokes all links of sessions."""
    session.execute(delete(ShareRow).where(ShareRow.session_id.in_(session_ids)))
