import asyncio
import threading
from typing import Literal

import argon2
import pytest

from receiver.web.accounts.store import MAX_PASSWORD, PasswordHasher, check_password
from receiver.web.places import Refused
from tests.support.web.web_service import cheap_passwords


@pytest.mark.parametrize("password", ["correct horse", "Zk8!vq02Lm", "почтальон печкин", "🦆🐢🐙🦑🦐🦞🦀🐡🐠🐟"])
def test_password_is_accepted(password: str) -> None:
    check_password(password, "anna")


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "a" * (MAX_PASSWORD + 1), "aaaaaaaaaa", "abababababab", "password123", "PASSWORD2024!",
        "qwertyuiop", "1234567890", "0987654321", "abcdefghijkl", "iloveyou2024", "summer2024!",
        "abc123abc123", "passwordpassword", "bodywire2026", "annabella1", "2024ANNABELLA",
    ],
)  # fmt: skip
def test_weak_password_is_refused(password: str) -> None:
    with pytest.raises(Refused, match="password") as raised:
        check_password(password, "Annabella")
    assert len(password) < 8 or password not in str(raised.value)


async def test_hash_is_argon2id_with_the_costs_of_the_rfc() -> None:
    hasher = PasswordHasher()
    encoded = await hasher.hash("correct horse")
    assert encoded.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert await hasher.verify(encoded, "correct horse")
    assert not await hasher.verify(encoded, "correct horsE")


async def test_nobody_has_a_password() -> None:
    hasher = cheap_passwords()
    assert not await hasher.verify(None, "nobody has this password")


async def test_password_may_be_composed_otherwise() -> None:
    hasher = cheap_passwords()
    assert await hasher.verify(await hasher.hash("pässword schön"), "pa\u0308ssword scho\u0308n")
    assert await hasher.verify(await hasher.hash("\ud800 is no character"), "\ud800 is no character")


class _HeldHasher(argon2.PasswordHasher):
    """Counts how many hashes are computed at a time; `gate` holds them."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.gate = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(10)
        with self._lock:
            self.running -= 1
        return super().verify(hash, password)


async def test_few_passwords_are_hashed_at_a_time_and_a_flood_is_refused() -> None:
    held = _HeldHasher()
    hasher = PasswordHasher(held)
    flood = [asyncio.create_task(hasher.verify(None, "x")) for _ in range(100)]
    await asyncio.sleep(0)  # every task has begun, and asked for a thread or been refused
    held.gate.set()
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 68
    assert held.most <= 2
    assert not await hasher.verify(None, "x")  # there is room again
