"""Whose the sessions are that the page makes: those of browsers' cameras, and of uploaded clips."""

import hashlib
import re

from receiver.publish.session_records import SessionState

CAMERA, CLIP = "browser-camera", "clip"
"""Kinds of sessions that belong to an account."""
_SUBJECT = re.compile(rf"token:({CAMERA}|{CLIP})-of-([0-9a-f]{{40}})")


def owner_of(kind: str, account: str) -> str:
    """Under which name of a token the sessions of this kind of an account are recorded."""
    return f"{kind}-of-{account_key(account)}"


def account_key(account: str) -> str:
    """A name as tokens may have it: names of accounts have letters that those of tokens cannot have."""
    return hashlib.sha256(account.encode()).hexdigest()[:40]


def key_of_session(state: SessionState) -> str | None:
    """The key of the account that has made a session on the page; None if there is none."""
    return _kind_and_key(state)[1]


def is_clip(state: SessionState) -> bool:
    """Whether a session is an uploaded clip, which only its account may see, as its pictures."""
    return _kind_and_key(state)[0] == CLIP


def _kind_and_key(state: SessionState) -> tuple[str, str] | tuple[None, None]:
    match = _SUBJECT.fullmatch(state.owner.subject) if state.owner else None
    return (match[1], match[2]) if match else (None, None)
