"""Rules for passwords, and their argon2id hashes."""

import asyncio
import unicodedata
from collections.abc import Callable
from typing import TypeVar

import argon2
from argon2.exceptions import VerificationError
from zxcvbn import zxcvbn

from receiver.web.refused import Refused

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
