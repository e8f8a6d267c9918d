"""Asks a receiver for its versions and its clock without beginning a session.

A `Hello` whose model hash is all zeros fits no receiver. So every version of the receiver refuses it: after it has
checked the sender's token, and before it looks for a session. The `Welcome` has the receiver's model hash, the trailing
metadata of the stream have the rest.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from common.codec.packet import CODEC_VERSION
from common.wire.convert import MAX_TIME_NS, PROTOCOL_VERSION, SESSION_ID_BYTES, SESSION_SECRET_BYTES, Hello

_MODEL_HASH = bytes(8)
_PROTOCOL, _CODEC, _CLOCK = "bodywire-protocol", "bodywire-codec", "bodywire-clock-ns"
_MAX_DIGITS = 20


def probe_hello(name: str) -> Hello:
    """A `Hello` that no receiver accepts."""
    session_id, secret = secrets.token_bytes(SESSION_ID_BYTES), secrets.token_bytes(SESSION_SECRET_BYTES)
    return Hello(session_id, name, CODEC_VERSION, _MODEL_HASH, live=False, session_secret=secret)


def is_probe(hello: Hello) -> bool:
    """Whether a sender only asks for versions."""
    return not any(hello.model_hash)


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What a receiver says of itself.

    Args:
        protocol_version, codec_version: must equal the sender's.
        clock_ns: the receiver's clock when it answered, nanoseconds since the epoch.
    """

    protocol_version: int
    codec_version: int
    clock_ns: int

    @classmethod
    def now(cls, codec_version: int, clock_ns: int) -> Self:
        """The answer of this version."""
        return cls(PROTOCOL_VERSION, codec_version, clock_ns)

    @classmethod
    def from_metadata(cls, metadata: Iterable[tuple[str, object]]) -> Self | None:
        """Reads the metadata of a stream; None if they have no answer, or not a valid one."""
        entries = dict(metadata)
        numbers = [_number(entries.get(key)) for key in (_PROTOCOL, _CODEC, _CLOCK)]
        protocol, codec, clock_ns = numbers
        if protocol is None or codec is None or clock_ns is None or clock_ns > MAX_TIME_NS:
            return None
        return cls(protocol, codec, clock_ns)

    def to_metadata(self) -> tuple[tuple[str, str], ...]:
        """Trailing metadata of the stream."""
        return (
            (_PROTOCOL, str(self.protocol_version)),
            (_CODEC, str(self.codec_version)),
            (_CLOCK, str(self.clock_ns)),
        )


def _number(value: object) -> int | None:
    """A metadata value as a number that is not negative."""
    valid = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS
    return int(str(value)) if valid else None
