"""Rules for passwords, and their argon2id hashes."""

import asyncio
import contextlib
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from receiver.web.accounts.common_passwords import is_common
from receiver.web.accounts.names import name_key

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
    """Hashes and verifies passwords in few threads, which bounds the memory that attackers can make it use.

    Args:
        hasher: with the cost of a hash; tests take cheap ones.
    """

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
        """The encoded hash.

        Raises:
            PasswordsBusy: too many others wait.
        """
        return await self._in_thread(lambda: self.hash_now(password))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether a password has this hash; takes as long for None, the hash of nobody.

        Raises:
            PasswordsBusy: too many others wait.
        """
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
