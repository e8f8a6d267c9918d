"""Asks a receiver whether it takes a sender, without beginning a session.

A `Hello` whose model hash is all zeros fits no receiver. So every receiver refuses it: after it has checked the
sender's token, the protocol and the codec, and before it looks for a session. The `Welcome` has the receiver's model
hash.
"""

import secrets

from common.codec.packet import CODEC_VERSION
from common.wire.convert import SESSION_ID_BYTES, SESSION_SECRET_BYTES, Hello

_MODEL_HASH = bytes(8)


def probe_hello(name: str) -> Hello:
    """A `Hello` that no receiver accepts."""
    session_id, secret = secrets.token_bytes(SESSION_ID_BYTES), secrets.token_bytes(SESSION_SECRET_BYTES)
    return Hello(session_id, name, CODEC_VERSION, _MODEL_HASH, live=False, session_secret=secret)


def is_probe(hello: Hello) -> bool:
    """Whether a sender only asks."""
    return not any(hello.model_hash)


def is_of_networks(reason: str) -> bool:
    """Whether a receiver has refused a probe for its model hash, the last that it compares."""
    return reason.endswith(f"the sender {_MODEL_HASH.hex()}")
