"""Who may not: streams that are refused, owners of sessions, and the receiver's own senders."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Self

from common.wire.stream import StreamBroken


class Refusal(StrEnum):
    """Why a stream is refused, with the label of the metric."""

    SILENT = "silent"  # no Hello in time
    MALFORMED = "malformed"  # the first message is not a valid Hello
    VERSION = "version"  # another protocol, codec or model
    IDENTITY = "identity"  # no valid token
    OWNER = "owner"  # the session belongs to another sender
    FULL = "full"  # no room for another session or handshake
    BUSY = "busy"  # no computing time for another live session


_CODES = {
    Refusal.SILENT: "DEADLINE_EXCEEDED",
    Refusal.MALFORMED: "INVALID_ARGUMENT",
    Refusal.VERSION: "FAILED_PRECONDITION",
    Refusal.IDENTITY: "UNAUTHENTICATED",
    Refusal.OWNER: "PERMISSION_DENIED",
    Refusal.FULL: "RESOURCE_EXHAUSTED",
    Refusal.BUSY: "RESOURCE_EXHAUSTED",
}


class StreamRefused(StreamBroken):
    """A stream is refused before its session is used, with a reason for the sender and a detail for the log."""

    def __init__(self, refusal: Refusal, reason: str, detail: str = "") -> None:
        super().__init__(_CODES[refusal], reason)
        self.refusal = refusal
        self.detail = detail


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


_TOKEN_BYTES = 32


class OwnKind(Enum):
    """What such a process sends."""

    CAMERA = auto()  # of a browser: a live session like any other
    CLIP = auto()  # uploaded: a session of its account, which nobody observes live
    PICTURES = auto()  # uploaded: each frame is a picture, of which nothing is written


@dataclass(frozen=True, slots=True, eq=False)
class OwnSender:
    """A sender process of this receiver.

    Args:
        name: of its sessions' sender, as it is shown.
        account: `token:` and this is the owner of its sessions.
    """

    name: str
    account: str
    kind: OwnKind

    @property
    def subject(self) -> str:
        """The identity that its token proves."""
        return f"token:{self.account}"


class OwnSenders:
    """The processes that may connect, by the hash of the token that was made for each."""

    def __init__(self) -> None:
        self._senders: dict[bytes, OwnSender] = {}

    def admit(self, sender: OwnSender) -> str:
        """Admits a process; returns its token."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._senders[_digest(token)] = sender
        return token

    def dismiss(self, sender: OwnSender) -> None:
        """Admits a process no more."""
        self._senders = {digest: each for digest, each in self._senders.items() if each is not sender}

    def find(self, token: str) -> OwnSender | None:
        """Whose token it is; None if it is none of these."""
        return self._senders.get(_digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
