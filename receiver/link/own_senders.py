"""Sender processes that the receiver starts itself: what their sessions are is decided by who starts them."""

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum, auto

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
