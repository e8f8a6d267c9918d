"""Ownership of sessions: only the sender that began a session may use it again."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self

from receiver.link.refusals import Refusal, StreamRefused


class NotOwner(StreamRefused):
    """A sender asks for a session that another one began (`detail`: which, for the log alone)."""

    def __init__(self, detail: str) -> None:
        super().__init__(Refusal.OWNER, "the session belongs to another sender", detail)


@dataclass(frozen=True, slots=True)
class SessionOwner:
    """What a sender must present to use a session again; kept in memory and on disk.

    The secret binds the session to one sender process (or its spool), also where tokens are shared or absent; the
    subject keeps a stolen secret from being used under another identity.

    Args:
        subject: the proven identity, `token:NAME` or `certificate:NAME`; empty where senders prove none.
        secret_sha256: 32 bytes, the hash of the secret in the sender's Hello.
    """

    subject: str
    secret_sha256: bytes

    @classmethod
    def from_secret(cls, subject: str, secret: bytes) -> Self:
        """The owner that presents this secret under this identity."""
        return cls(subject, hashlib.sha256(secret).digest())

    def admits(self, claimant: "SessionOwner") -> bool:
        """Whether a claimant is this owner; takes the same time for every wrong secret."""
        same_secret = hmac.compare_digest(self.secret_sha256, claimant.secret_sha256)
        return same_secret and self.subject == claimant.subject
