"""Accounts in the database: names, labels of tokens, and passwords.

Accounts and their secrets in the database. Each function is one part of a transaction.

A secret is random, which makes its SHA-256 enough: the cookie of a browser that is signed in, which ends when it is
idle or old, or a bearer token, which has a label and ends when it is revoked.
"""

import asyncio
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from sqlite3 import Connection, IntegrityError, Row
from typing import TypeVar

import argon2
from argon2.exceptions import VerificationError
from zxcvbn import zxcvbn

from receiver.web.places import Refused

MIN_NAME, MAX_NAME, MAX_LABEL = 2, 64, 64
# Letters and digits of any script; NFKC has already made one of the many forms of each.
_NAME = re.compile(r"[^\W_](?:[\w.@+-]*[^\W_])?")


def checked_name(text: str) -> str:
    """A name for a new account, normalised by NFKC, without surrounding space.

    Raises:
        Refused: 422 it is too short or too long, or has characters that a name cannot have.
    """
    name = unicodedata.normalize("NFKC", text[: 4 * MAX_NAME]).strip()
    if not MIN_NAME <= len(name) <= MAX_NAME:
        raise Refused(422, f"a name has {MIN_NAME} to {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise Refused(422, "a name has letters, digits and . @ + - _ and begins and ends with a letter or digit")
    return name


def name_key(text: str) -> str:
    """What two names have in common that differ only in case or in the form of their characters.

    Any text has a key, so that a name that cannot exist takes the same way as one that does not.
    """
    encodable = text[: 4 * MAX_NAME].encode(errors="replace").decode()
    folded = unicodedata.normalize("NFKC", encodable).strip().casefold()
    return unicodedata.normalize("NFKC", folded)[: 2 * MAX_NAME]


def checked_label(text: str) -> str:
    """The label of a token, normalised by NFKC. Raises Refused (422) if it is empty, too long, or does not print."""
    label = unicodedata.normalize("NFKC", text[: 4 * MAX_LABEL]).strip()
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise Refused(422, f"a label has 1 to {MAX_LABEL} characters that print")
    return label


T = TypeVar("T")

MIN_PASSWORD, MAX_PASSWORD = 10, 256
# Scores of zxcvbn: 3 takes more than 100 million guesses. Its time grows with the length of what it looks at.
_MIN_SCORE, _SCORED_CHARACTERS = 3, 40
# Each hash takes 64 MiB, the second recommendation of RFC 9106, and 0.15 s of one core.
_MEMORY_KIB, _PASSES = 65_536, 3
# In work at a time, which bounds the memory that attackers can make it use, and waiting.
_AT_ONCE, _WAITING = 2, 32


def check_password(password: str, name: str) -> None:
    """Checks a new password of an account with this name.

    Raises:
        Refused: 422 it is too short, too long, or easy to guess; the message says what to do and does not quote it.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Refused(422, f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    guessed = zxcvbn(password[:_SCORED_CHARACTERS], user_inputs=[name, "bodywire"])
    if guessed["score"] < _MIN_SCORE:
        raise Refused(422, "the password is easy to guess: add words that have nothing to do with each other")


class PasswordHasher:
    """Hashes and verifies passwords, few at a time."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1, type=argon2.Type.ID
        )
        self._turn, self._waiting = asyncio.Semaphore(_AT_ONCE), 0
        # A name that does not exist costs the same time as one that does.
        self._nobody = self._hasher.hash("nobody has this password")

    def hash_now(self, password: str) -> str:
        """The encoded hash, computed in this thread."""
        return self._hasher.hash(_bytes(password))

    async def hash(self, password: str) -> str:
        """The encoded hash. Raises Refused (429) if too many others wait."""
        return await self._in_thread(lambda: self.hash_now(password))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether a password has this hash; takes as long for None, nobody's. Raises Refused (429) if too many wait."""
        return await self._in_thread(lambda: self._verify(encoded, password))

    def _verify(self, encoded: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(encoded or self._nobody, _bytes(password)) and encoded is not None
        except VerificationError:
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _WAITING:
            raise Refused(429, "many people are signing in: try again in a few seconds", 5.0)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    """The same bytes however a keyboard composes the characters; lone surrogates stay what they are."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


MACHINES = "(this machine)"
"""No name that an account may have."""
SESSION_IDLE_S, SESSION_MOST_S = 7 * 86_400.0, 30 * 86_400.0
MAX_SESSIONS, MAX_TOKENS = 32, 50
_TOKEN_PREFIX = "bw_"
"""By which scanners of leaked secrets find tokens."""
_SECRET_BYTES = 32
# The last use is written at most once in this time: reading a page costs no write.
_USE_EVERY_S = 60.0
_LIVES = "label IS NOT NULL OR (used_at >= :now - :idle AND secrets.created_at >= :now - :most)"


@dataclass(frozen=True, slots=True)
class Account:
    """An account."""

    id: int
    name: str

    @property
    def is_machines(self) -> bool:
        """Whether it is that of this machine's user, who needs none: it keeps the newest model only."""
        return self.name == MACHINES


def count_accounts(database: Connection) -> int:
    """How many accounts there are that somebody has made."""
    return int(database.execute("SELECT count(*) FROM accounts WHERE name != ?", (MACHINES,)).fetchone()[0])


def machines_account(database: Connection, now: float) -> Account:
    """The account of this machine's user; it has no password that anybody could give."""
    row = find_account(database, MACHINES)
    return Account(row["id"], row["name"]) if row else add_account(database, MACHINES, "", now)


def add_account(database: Connection, name: str, password_hash: str, now: float) -> Account:
    """Adds an account. Raises Refused (409) if there is one of this name, perhaps in other case."""
    row = (name, name_key(name), password_hash, now)
    try:
        added = database.execute(
            "INSERT INTO accounts (name, name_key, password_hash, created_at) VALUES (?, ?, ?, ?)", row
        )
    except IntegrityError as error:
        raise Refused(409, "this name is taken: choose another name, or sign in") from error
    return Account(added.lastrowid or 0, name)


def find_account(database: Connection, name: str) -> Row | None:
    """The row of the account of a name in any case."""
    found: Row | None = database.execute("SELECT * FROM accounts WHERE name_key = ?", (name_key(name),)).fetchone()
    return found


def list_accounts(database: Connection) -> list[Row]:
    """Name, time, and numbers of tokens and models of all accounts, by name."""
    return database.execute(
        "SELECT name, created_at,"
        " (SELECT count(*) FROM secrets WHERE account_id = accounts.id AND label IS NOT NULL),"
        " (SELECT count(*) FROM models WHERE account_id = accounts.id)"
        " FROM accounts WHERE name != ? ORDER BY name_key",
        (MACHINES,),
    ).fetchall()


def remove_account(database: Connection, account: Account, now: float) -> list[str]:
    """Removes an account with all it has; returns the ids of its models, which still have files.

    Its sessions stay, for `list_removed`.
    """
    models = database.execute("SELECT id FROM models WHERE account_id = ?", (account.id,)).fetchall()
    database.execute("DELETE FROM accounts WHERE id = ?", (account.id,))
    database.execute("INSERT INTO removed VALUES (?, ?)", (account.name, now))
    return [model["id"] for model in models]


def list_removed(database: Connection) -> list[Row]:
    """Names of removed accounts whose sessions may still be there, and when they were removed."""
    return database.execute("SELECT name, removed_at FROM removed").fetchall()


def forget_removed(database: Connection, name: str, removed_at: float) -> None:
    """The sessions of an account that was removed are deleted."""
    database.execute("DELETE FROM removed WHERE name = ? AND removed_at = ?", (name, removed_at))


def account_exists(database: Connection, account: Account) -> bool:
    """Whether an account was not removed."""
    return database.execute("SELECT 1 FROM accounts WHERE id = ?", (account.id,)).fetchone() is not None


def change_password(database: Connection, account: Account, password_hash: str) -> None:
    """Replaces a password; who was signed in with the old one is signed out."""
    database.execute("UPDATE accounts SET password_hash = ? WHERE id = ?", (password_hash, account.id))
    database.execute("DELETE FROM secrets WHERE account_id = ? AND label IS NULL", (account.id,))


def begin_session(database: Connection, account: Account, now: float) -> str:
    """Signs a browser in; returns its secret. All expired sessions go, and the account's oldest beyond the limit."""
    database.execute(f"DELETE FROM secrets WHERE NOT ({_LIVES})", _at(now))
    database.execute(
        "DELETE FROM secrets WHERE id IN (SELECT id FROM secrets WHERE account_id = ? AND label IS NULL"
        " ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
        (account.id, MAX_SESSIONS - 1),
    )
    return _add_secret(database, account, secrets.token_urlsafe(_SECRET_BYTES), None, now)[1]


def add_token(database: Connection, account: Account, label: str, now: float) -> tuple[str, str]:
    """Makes a bearer token; returns its id and the secret, which is stored nowhere.

    Raises:
        Refused: 422 the label breaks a rule, which the message says, 409 the account has as many as it may have.
    """
    if len(list_tokens(database, account)) >= MAX_TOKENS:
        raise Refused(409, f"the account has {MAX_TOKENS} tokens: revoke one first")
    secret = _TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return _add_secret(database, account, secret, checked_label(label), now)


def find_secret(database: Connection, secret: str, now: float, *, token: bool) -> tuple[Account, bool] | None:
    """The account of a session that has not ended, or of a token, and whether its use should be written now."""
    found = database.execute(
        "SELECT accounts.id, name, used_at FROM secrets JOIN accounts ON accounts.id = account_id"
        f" WHERE hash = :hash AND (label IS NOT NULL) = :token AND ({_LIVES})",
        {"hash": _hash(secret), "token": token, **_at(now)},
    ).fetchone()
    return found and (Account(found["id"], found["name"]), now - (found["used_at"] or 0.0) >= _USE_EVERY_S)


def use_secret(database: Connection, secret: str, now: float) -> None:
    """Notes that a session or token is in use."""
    database.execute("UPDATE secrets SET used_at = ? WHERE hash = ?", (now, _hash(secret)))


def remove_secret(database: Connection, secret: str) -> None:
    """Signs a browser out."""
    database.execute("DELETE FROM secrets WHERE hash = ?", (_hash(secret),))


def list_tokens(database: Connection, account: Account) -> list[Row]:
    """The account's tokens, newest first."""
    return database.execute(
        "SELECT * FROM secrets WHERE account_id = ? AND label IS NOT NULL ORDER BY created_at DESC, id", (account.id,)
    ).fetchall()


def remove_token(database: Connection, account: Account, token: str) -> bool:
    """Revokes a token of the account; returns whether there was one."""
    removed = database.execute(
        "DELETE FROM secrets WHERE id = ? AND account_id = ? AND label IS NOT NULL", (token, account.id)
    )
    return removed.rowcount > 0


def _add_secret(database: Connection, account: Account, secret: str, label: str | None, now: float) -> tuple[str, str]:
    row = (secrets.token_hex(8), _hash(secret), account.id, label, now, None if label else now)
    database.execute("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?)", row)
    return row[0], secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _at(now: float) -> dict[str, float]:
    return {"now": now, "idle": SESSION_IDLE_S, "most": SESSION_MOST_S}
