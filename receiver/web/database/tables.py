"""The tables of accounts and models.

Times are seconds since the epoch. Secrets are stored as hashes only.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, Double, ForeignKey, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = 1
"""Version of the tables; 0 is a new file."""


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double(), bytes: LargeBinary(32), str: String(255)}


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
