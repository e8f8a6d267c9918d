"""The tables of accounts and models.

Times are seconds since the epoch. Secrets are stored as hashes only.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, Double, ForeignKey, LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double(), bytes: LargeBinary(32), str: String(255)}


SCHEMA = "0002"
"""Version of the tables."""


class SchemaRow(Base):
    """The version of the tables, where earlier versions of Bodywire have put it and look for it."""

    __tablename__ = "alembic_version"

    version_num: Mapped[str] = mapped_column(String(32), primary_key=True)


class AccountRow(Base):
    """An account: its name as chosen, the key under which that name is unique, and the argon2id hash."""

    __tablename__ = "accounts"
    # A number is never given again: what belonged to a removed account must not fall to a new one.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    created_at: Mapped[float]


class SessionRow(Base):
    """A browser that is signed in, by the SHA-256 of its cookie."""

    __tablename__ = "sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    used_at: Mapped[float]


class TokenRow(Base):
    """A bearer token of a program, by its SHA-256."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    label: Mapped[str]
    created_at: Mapped[float]
    used_at: Mapped[float | None]


class ResetRow(Base):
    """A link with which somebody who has forgotten a password sets another one, by the SHA-256 of its secret."""

    __tablename__ = "resets"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[float]


class ShareRow(Base):
    """A link with which everybody may see one recorded session, by the SHA-256 of its secret.

    `session_id` is the session's id in the records of its output directory; links that nobody with an account has made
    have no `account_id`.
    """

    __tablename__ = "shares"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    session_id: Mapped[str] = mapped_column(index=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]


class ModelRow(Base):
    """An uploaded picture's people; their meshes are files in the folder of the model's id."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    created_at: Mapped[float]
    width: Mapped[int]
    height: Mapped[int]
    label_bytes: Mapped[int]
    people_count: Mapped[int]
    people: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    stages_ms: Mapped[dict[str, float]] = mapped_column(JSON)
