"""Passwords of ten characters and more that attackers try first."""

import re

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
