"""The first block of a recording: who recorded it, and what decodes it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from common.errors import RecordingError

MAX_TEXT_CHARACTERS = 256
_MAX_BYTES = 1 << 16
RecordedBy = Literal["sender", "receiver", "spool"]


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """What is true of a whole recording.

    Args:
        codec: version of the codec that decodes its packets.
        model: hash of the networks that its labels belong to, hexadecimal (`model_hash`).
        recorded_by: the end that recorded it, or the spool of a sender, whose packets are lossless label frames.
        version: of the package that recorded it.
        live: the sender dropped stale frames.
        session: what a spool remembers of its session; empty elsewhere.
        timely: no filter delayed the labels; not in older recordings, whose labels are delayed.
    """

    codec: int
    model: str
    recorded_by: RecordedBy
    version: str
    sender: str
    live: bool
    session: Mapping[str, str] = field(default_factory=dict)
    timely: bool = False

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()


def parse_facts(content: bytes) -> RecordingFacts:
    """The inverse of `RecordingFacts.encode`, for untrusted bytes.

    Raises:
        RecordingError: a fact is missing or of another type.
    """
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(len(content))
        document = json.loads(content)
        session = document["session"]
        texts = all(isinstance(each, str) for each in session.values())
        if document["recorded_by"] not in get_args(RecordedBy) or not texts:
            raise ValueError(document)
        return RecordingFacts(
            codec=int(document["codec"]),
            model=_text(document["model"]),
            recorded_by=document["recorded_by"],
            version=_text(document["version"]),
            sender=_text(document["sender"]),
            live=bool(document["live"]),
            session=session,
            timely=bool(document.get("timely", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RecordingError("its first block is not that of a recording") from error


def _text(value: object) -> str:
    """Printable text of a bounded length; raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError(value)
    return value
