"""Random secrets of sessions and tokens, and what is stored of them."""

import hashlib
import hmac
import secrets

TOKEN_PREFIX = "bw_"
_BYTES = 32


def new_session_secret() -> str:
    """The value of a session's cookie: 256 random bits."""
    return secrets.token_urlsafe(_BYTES)


def new_token() -> str:
    """A bearer token: 256 random bits after a prefix by which scanners of leaked secrets find it."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_BYTES)


def secret_hash(secret: str) -> bytes:
    """SHA-256 of a secret; enough, because the secret is random."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same(given: str, expected: str) -> bool:
    """Compares secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
