"""Rules for passwords, and their argon2id hashes."""

import asyncio
import contextlib
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from receiver.web.accounts.names import name_key

_WORDS = """
    password passw0rd p@ssword p@ssw0rd passwort motdepasse contraseña administrator administrador changeme letmein
    welcome iloveyou qwerty qwertyuiop qwertz azerty asdfgh asdfghjkl zxcvbn zxcvbnm 1q2w3e 1q2w3e4r 1q2w3e4r5t
    1qaz2wsx qazwsx qazwsxedc q1w2e3r4t5 abcdef abcdefghij abc123 monkey dragon football baseball superman batman
    princess sunshine master shadow michael jennifer jordan liverpool chelsea arsenal trustno1 starwars whatever
    computer internet secret default guest root admin login access hello freedom ninja mustang summer winter spring
    autumn samsung google facebook linkedin charlie thomas hunter killer soccer hockey cheese pokemon naruto
    bodywire receiver sender
"""
_ALONE = frozenset(_WORDS.split())
_ROWS = (
    "0123456789",
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
)


def is_common(folded: str) -> bool:
    """Whether a case-folded password is a common word with little added, a word repeated, or a row of keys."""
    half = folded[: len(folded) // 2]
    if folded == 2 * half and (half in _ALONE or len(half) <= 6):
        return True
    return _without_ending(folded) in _ALONE or folded in _ALONE or any(_is_run(folded, row) for row in _ROWS)


def _without_ending(folded: str) -> str:
    """The text up to its last letter: `summer2024!` is `summer`."""
    return re.sub(r"[\d\W_]+$", "", folded)


def _is_run(folded: str, row: str) -> bool:
    """Whether the text follows a row of keys, forwards or backwards, and begins it again at its end."""
    return folded in 3 * row or folded in 3 * row[::-1]


T = TypeVar("T")

MIN_PASSWORD, MAX_PASSWORD = 10, 256
_MIN_DIFFERENT = 4
# Each hash takes 64 MiB, the second recommendation of RFC 9106, and 0.15 s of one core.
_MEMORY_KIB, _PASSES = 65_536, 3
_AT_ONCE, _WAITING = 2, 32


class PasswordsBusy(Exception):
    """Too many passwords wait to be hashed."""


def check_password(password: str, name: str) -> None:
    """Checks a new password.

    Raises:
        ValueError: it is too short, too long, or easy to guess; the message says what to do and does not quote it.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    folded = name_key(password)
    if name_key(name) in folded and len(folded) < MIN_PASSWORD + len(name_key(name)):
        raise ValueError("the password is the name with little added: choose another one")
    if len(set(folded)) < _MIN_DIFFERENT:
        raise ValueError("the password repeats a few characters: choose another one")
    if is_common(folded):
        raise ValueError("the password is among the first that are tried: choose another one")


class PasswordHasher:
    """Hashes and verifies passwords in few threads, which bounds the memory that attackers can make it use."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1, type=argon2.Type.ID
        )
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        # A name that does not exist costs the same time as one that does.
        self._nobody = self._hasher.hash("nobody has this password")

    def close(self) -> None:
        """Finishes the passwords in hand."""
        self._threads.shutdown()

    def hash_now(self, password: str) -> str:
        """The encoded hash, computed in this thread."""
        return self._hasher.hash(_bytes(password))

    async def hash(self, password: str) -> str:
        """The encoded hash. Raises PasswordsBusy if too many others wait."""
        return await self._in_thread(lambda: self.hash_now(password))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether a password has this hash; takes as long for None, nobody's. Raises PasswordsBusy if too many wait."""
        return await self._in_thread(lambda: self._verify(encoded, password))

    def is_outdated(self, encoded: str) -> bool:
        """Whether a hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(encoded)

    def _verify(self, encoded: str | None, password: str) -> bool:
        with contextlib.suppress(VerificationError, InvalidHashError):
            return self._hasher.verify(encoded or self._nobody, _bytes(password)) and encoded is not None
        return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _WAITING:
            raise PasswordsBusy
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Counted until the thread has done it, also when the caller is cancelled.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, _: object) -> None:
        self._waiting -= 1


def _bytes(password: str) -> bytes:
    """The same bytes however a keyboard composes the characters; lone surrogates stay what they are."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
