"""Random secrets of sessions and tokens, and what is stored of them."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

TOKEN_PREFIX = "bw_"
_BYTES = 32
# A secret of 32 bytes in URL-safe base64; what is longer is not looked up.
_MOST_CHARACTERS = 64


def new_session_secret() -> str:
    """The value of a session's cookie: 256 random bits."""
    return secrets.token_urlsafe(_BYTES)


def session_id(token_hash: bytes) -> str:
    """How a session is named in a list: of its hash, which is no secret that could be used."""
    return hashlib.sha256(b"bodywire session " + token_hash).hexdigest()[:16]


def new_token() -> str:
    """A bearer token: 256 random bits after a prefix by which scanners of leaked secrets find it."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_BYTES)


def secret_hash(secret: str) -> bytes | None:
    """SHA-256 of a secret; enough, because the secret is random. None for a text that is no secret of ours."""
    if not secret.isascii() or not 0 < len(secret) <= _MOST_CHARACTERS:
        return None
    return hashlib.sha256(secret.encode()).digest()


def browser_proof(password_hash: str, browser: str = "") -> str:
    """What a browser keeps that has signed in: its random name, and a proof by the account's password hash."""
    browser = browser or secrets.token_urlsafe(_BYTES // 2)
    proof = hmac.digest(password_hash.encode(), b"bodywire browser " + browser.encode(), "sha256")
    return f"{browser}.{urlsafe_b64encode(proof).decode().rstrip('=')}"


def proven_browser(given: str, password_hash: str) -> str | None:
    """The name of a browser that has signed in to an account since its password was set; None for another."""
    browser = given.partition(".")[0]
    valid = (
        given.isascii() and len(given) <= 2 * _MOST_CHARACTERS and same(given, browser_proof(password_hash, browser))
    )
    return browser if valid and browser else None


def csrf_token(session_secret: str) -> str:
    """The CSRF token of a session: who has only this one, or the database, cannot make the other."""
    digest = hmac.digest(session_secret.encode(), b"bodywire csrf", "sha256")
    return urlsafe_b64encode(digest).decode().rstrip("=")


def same(given: str, expected: str) -> bool:
    """Compares secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
