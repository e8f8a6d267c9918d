"""Browsers that have signed in to an account before, by a cookie that lasts: guesses of others do not keep them out.

The idea is OWASP's, "Slow Down Online Guessing Attacks with Device Cookies". The key of the signature is the hash of
the password, with its random salt: a cookie is of one account, until its password changes, and nothing else is stored.
"""

import hashlib
import hmac
import secrets

_NONCE_BYTES = 16
_NONCE_CHARACTERS = 2 * _NONCE_BYTES


def new_device(password_hash: str) -> str:
    """What a browser shows when it signs in the next time."""
    nonce = secrets.token_hex(_NONCE_BYTES)
    return nonce + _signature(nonce, password_hash)


def device_of(shown: str, password_hash: str) -> str | None:
    """By what the limits know a browser; None if it has not signed in to the account before."""
    nonce, signature = shown[:_NONCE_CHARACTERS], shown[_NONCE_CHARACTERS:]
    right = hmac.compare_digest(signature.encode(errors="replace"), _signature(nonce, password_hash).encode())
    return nonce if right and password_hash else None


def _signature(nonce: str, password_hash: str) -> str:
    return hmac.new(password_hash.encode(), f"device {nonce}".encode(errors="replace"), hashlib.sha256).hexdigest()
