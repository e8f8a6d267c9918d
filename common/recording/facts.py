"""The first block of a recording: who recorded it, and what decodes it."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from common.errors import RecordingError
from common.frames import MAX_CAPTURED_AT_S

MAX_TEXT_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """What is true of a whole recording.

    Args:
        codec: version of the codec that decodes its packets.
        model: hash of the networks that its labels belong to, hexadecimal (`model_hash`).
        recorded_by: the end that recorded it.
        version: of the package that recorded it.
        live: the sender dropped stale frames.
        began_at: seconds since the epoch on the recorder's clock.
    """

    codec: int
    model: str
    recorded_by: Literal["sender", "receiver"]
    version: str
    sender: str
    live: bool
    began_at: float

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    def check(self, codec: int, model: str) -> None:
        """Checks that this installation decodes the recording. Raises RecordingError if it does not."""
        if (self.codec, self.model) != (codec, model):
            raise RecordingError(
                f"it was recorded with codec version {self.codec} and networks {self.model}; this installation has "
                f"codec version {codec} and networks {model}: replay it with Bodywire {self.version}, which recorded it"
            )


def parse_facts(content: bytes) -> RecordingFacts:
    """The inverse of `RecordingFacts.encode`, for untrusted bytes.

    Raises:
        RecordingError: a fact is missing or of another type.
    """
    try:
        document = json.loads(content)
        recorded_by: Literal["sender", "receiver"] = "sender" if document["recorded_by"] == "sender" else "receiver"
        facts = RecordingFacts(
            codec=int(document["codec"]),
            model=_text(document["model"]),
            recorded_by=recorded_by,
            version=_text(document["version"]),
            sender=_text(document["sender"]),
            live=bool(document["live"]),
            began_at=float(document["began_at"]),
        )
        if not 0.0 <= facts.began_at <= MAX_CAPTURED_AT_S:
            raise ValueError(facts.began_at)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RecordingError("its first block is not that of a recording") from error
    return facts


def _text(value: object) -> str:
    """Printable text of a bounded length; raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError(value)
    return value
