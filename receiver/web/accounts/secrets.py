"""Random secrets of sessions and tokens, and what is stored of them."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

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


def csrf_token(session_secret: str) -> str:
    """The CSRF token of a session: who has only this one, or the database, cannot make the other."""
    digest = hmac.digest(session_secret.encode("utf-8", "surrogatepass"), b"bodywire csrf", "sha256")
    return urlsafe_b64encode(digest).decode().rstrip("=")


def same(given: str, expected: str) -> bool:
    """Compares secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
