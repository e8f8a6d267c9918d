import asyncio
import threading
from typing import Literal

import argon2
import pytest

from receiver.web.accounts.store import (
    MAX_NAME,
    MAX_PASSWORD,
    PasswordHasher,
    check_password,
    checked_label,
    checked_name,
    name_key,
)
from receiver.web.places import Refused
from tests.support.web.web_service import cheap_passwords


def test_name_is_kept_or_normalised() -> None:
    for name in ("Anna", "anna.b", "a1", "Ünal", "李明", "anna@example.org", "a" * MAX_NAME):
        assert checked_name(f" {name} ") == name
    assert checked_name("Ａｎｎａ") == "Anna"  # full-width letters


def test_other_name_is_refused() -> None:
    wrong_lengths = ("", "a", "a" * (MAX_NAME + 1), "a" * 10**6)
    for name in (*wrong_lengths, "-anna", "anna.", "an na", "an\0na", "an\u202ena", "a/b", "../etc", "\ud800x"):
        with pytest.raises(Refused, match="a name has"):
            pytest.fail(f"{checked_name(name)!r} is a name")


def test_names_that_look_the_same_have_one_key() -> None:
    for other in ("anna", "ANNA", " Anna ", "Ａｎｎａ"):
        assert name_key(other) == name_key("Anna"), other
    assert name_key("u\u0308nal") == name_key("Ünal"), "composed and decomposed"
    assert len(name_key("\ud800\0" * 10**5)) <= 2 * MAX_NAME, "any text has a key"


def test_label_that_does_not_print_is_refused() -> None:
    for label in ("", " ", "a\nb", "\x1b[31m", "a" * 65, "a\u202eb"):
        with pytest.raises(Refused, match="a label has"):
            pytest.fail(f"{checked_label(label)!r} is a label")


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
