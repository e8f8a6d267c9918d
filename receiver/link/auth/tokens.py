"""Tokens of senders: `python -m receiver.link.auth.tokens FILE NAME` makes one.

`--renew` replaces a sender's token, `--revoke` revokes it.

The file is TOML, one table per sender, and contains only hashes.  A running receiver reads it again when it changes:

    [studio]
    sha256 = "9f86d0…"
    expires = 2027-03-01T00:00:00Z       # without this line: never
    revoked = true                       # or remove the table
"""

import argparse
import hashlib
import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError, UsageError, exit_code_of
from common.io.files import atomic_write, read_regular, stamp_of
from receiver.link.refusals import Refusal, StreamRefused

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECRET_BYTES = 32
_MAX_BYTES = 10_000_000


class TokenRefused(StreamRefused):
    """A sender is not admitted."""

    def __init__(self, reason: str) -> None:
        super().__init__(Refusal.IDENTITY, reason)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    sha256: bytes
    expires: datetime | None
    revoked: bool


class TokenFile:
    """The valid tokens, as listed in the file at present. Raises UsageError if it is no readable token file."""

    def __init__(self, path: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._path, self._clock = path, clock
        self._stamp = stamp_of(path)
        self._entries = _read(path)

    def name_of(self, token: str) -> str:
        """The sender of a token. Raises TokenRefused if the token is unknown, has expired or was revoked."""
        self._refresh()
        digest = hashlib.sha256(token.encode()).digest()
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                if entry.revoked:
                    raise TokenRefused(f"the token of {entry.name} was revoked")
                if entry.expires and self._clock.wall() >= entry.expires.timestamp():
                    raise TokenRefused(f"the token of {entry.name} expired on {entry.expires:%Y-%m-%d}")
                return entry.name
        raise TokenRefused("the token is unknown; python -m receiver.link.auth.tokens makes one")

    def _refresh(self) -> None:
        """Reads the file again if it has changed; the present tokens stay valid while it cannot be read."""
        stamp = stamp_of(self._path)
        if stamp != self._stamp:
            with suppress(UsageError):
                self._entries, self._stamp = _read(self._path), stamp


def _read(path: Path) -> tuple[_Entry, ...]:
    try:
        tables = tomllib.loads(read_regular(path, _MAX_BYTES, follow_links=True).decode())
        return tuple(_entry(name, table) for name, table in tables.items())
    except OSError as error:
        raise UsageError(f"--tokens: cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"--tokens: {path} is not a token file: {error}") from error


def _entry(name: str, table: dict[str, Any]) -> _Entry:
    expires = table.get("expires")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise ValueError(f"[{name}] expires is not a date and time with a time zone, such as 2027-03-01T00:00:00Z")
    revoked = table.get("revoked", False)
    if not isinstance(revoked, bool):
        raise ValueError(f"[{name}] revoked is neither true nor false")
    digest = bytes.fromhex(table["sha256"])
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"[{name}] sha256 does not have 64 digits")
    return _Entry(name, digest, expires, revoked)


def add_token(path: Path, name: str, days: float | None, now: datetime, *, renew: bool = False) -> str:
    """Makes a token, writes its hash to the file, and returns the token, which is stored nowhere.

    Args:
        days: until it expires; None for never.
        renew: replace the sender's token, which is no longer valid then; its sessions remain its own.

    Raises:
        UsageError: the name is taken (with `renew`: is not) or has invalid characters, or the file is not a token file.
        OutputError: the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid name: at most 64 letters, digits, - and _")
    entries = {entry.name: entry for entry in (_read(path) if path.exists() else ())}
    if renew and name not in entries:
        raise UsageError(f"{path} has no token for {name}; names: {', '.join(entries) or 'none'}")
    if name in entries and not renew:
        raise UsageError(f"{path} has a token for {name}; replace it with --renew, or take another name")
    token = secrets.token_urlsafe(_SECRET_BYTES)
    expires = None if days is None else now + timedelta(days=days)
    entries[name] = _Entry(name, hashlib.sha256(token.encode()).digest(), expires, revoked=False)
    _write(path, entries)
    return token


def revoke_token(path: Path, name: str) -> None:
    """Revokes a token, in running receivers too.

    Raises:
        UsageError: there is no token of that name.
        OutputError: the file cannot be written.
    """
    entries = {entry.name: entry for entry in _read(path)}
    if name not in entries:
        raise UsageError(f"{path} has no token for {name}; names: {', '.join(entries) or 'none'}")
    old = entries[name]
    _write(path, entries | {name: _Entry(name, old.sha256, old.expires, revoked=True)})


def _write(path: Path, entries: dict[str, _Entry]) -> None:
    text = "".join(_table(entry) for entry in entries.values())
    try:
        atomic_write(path, text.encode(), mode=0o600)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _table(entry: _Entry) -> str:
    lines = [f"[{entry.name}]", f"sha256 = {json.dumps(entry.sha256.hex())}"]
    if entry.expires:
        lines.append(f"expires = {entry.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    if entry.revoked:
        lines.append("revoked = true")
    return "\n".join(lines) + "\n\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m receiver.link.auth.tokens", description="Make or revoke a sender's token."
    )
    parser.add_argument("file", type=Path, help="token file, as in the receiver's --tokens")
    parser.add_argument("name", help="name of the sender")
    parser.add_argument("--days", type=float, help="days until it expires (default: never)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--renew", action="store_true", help="replace the sender's token by a new one")
    action.add_argument("--revoke", action="store_true", help="revoke the token instead")
    options = parser.parse_args(arguments)

    def work() -> None:
        if options.revoke:
            revoke_token(options.file, options.name)
            print(f"revoked the token of {options.name}")
        else:
            print(add_token(options.file, options.name, options.days, datetime.now(UTC), renew=options.renew))

    return exit_code_of("tokens", work)


if __name__ == "__main__":
    raise SystemExit(main())
