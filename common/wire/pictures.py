"""Messages between a program and a sender that takes its pictures: `sender --camera socket:PATH`.

    program ─→ sender   uint32 header size · uint32 image size · header (JSON object, UTF-8) · image
    sender ─→ program   uint32 answer size · answer (JSON object, UTF-8)

Integers are little-endian. Each message is answered, in order; docs/protocol.md describes the fields.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

from common.errors import MalformedPacket
from common.frames import MAX_CAPTURED_AT_S, MAX_FOCAL_PX, MIN_FOCAL_PX

MESSAGE_PREFIX = struct.Struct("<II")
ANSWER_PREFIX = struct.Struct("<I")
MAX_HEADER_BYTES = 4096
MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_ANSWER_BYTES = 4096
MAX_NAME_BYTES = 200
_FIELDS = {"name", "captured_at", "focal_px"}


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a program says about a picture; every field may be left out.

    Args:
        name: of the picture, or of the live camera; printable, up to `MAX_NAME_BYTES` in UTF-8.
        captured_at: seconds since the epoch; the time of arrival if None.
        focal_px: focal length in pixels; the sender's `--focal-px` if None.
    """

    name: str | None = None
    captured_at: float | None = None
    focal_px: float | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            _require(isinstance(self.name, str) and self.name.isprintable(), "name is no printable text")
            size = len(self.name.encode(errors="replace"))
            _require(1 <= size <= MAX_NAME_BYTES, f"name has 1 to {MAX_NAME_BYTES} bytes, not {size}")
        _require_number(self.captured_at, "captured_at", 0.0, MAX_CAPTURED_AT_S)
        _require_number(self.focal_px, "focal_px", MIN_FOCAL_PX, MAX_FOCAL_PX)


@dataclass(frozen=True, slots=True)
class PictureAccepted:
    """The sender has decoded a picture and will send what is in it.

    Args:
        source: its name in the frame that it becomes.
        width, height: upright, pixels.
    """

    source: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PictureRefused:
    """The sender does not take a picture; `reason` says why in one line."""

    reason: str


PictureAnswer = PictureAccepted | PictureRefused


def encode_picture(header: PictureHeader, image: bytes) -> bytes:
    """A whole message. Raises MalformedPacket if the image is empty or larger than `MAX_IMAGE_BYTES`."""
    fields = {"name": header.name, "captured_at": header.captured_at, "focal_px": header.focal_px}
    text = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    check_sizes(len(text), len(image))
    return MESSAGE_PREFIX.pack(len(text), len(image)) + text + image


def check_sizes(header_bytes: int, image_bytes: int) -> None:
    """Checks the sizes in a message's prefix.

    Raises:
        MalformedPacket: one is out of range, so that the rest of the message cannot be read.
    """
    _require(2 <= header_bytes <= MAX_HEADER_BYTES, f"a header has 2 to {MAX_HEADER_BYTES} bytes, not {header_bytes}")
    _require(1 <= image_bytes <= MAX_IMAGE_BYTES, f"an image has 1 to {MAX_IMAGE_BYTES} bytes, not {image_bytes}")


def decode_header(data: bytes) -> PictureHeader:
    """The header of a message.

    Raises:
        MalformedPacket: it is no JSON object, or a field is unknown or out of range.
    """
    fields = _object(data, "the header")
    unknown = set(fields) - _FIELDS
    _require(not unknown, f"the header has an unknown field; it may have {', '.join(sorted(_FIELDS))}")
    return PictureHeader(**fields)


def encode_answer(answer: PictureAnswer) -> bytes:
    """An answer with its prefix."""
    if isinstance(answer, PictureAccepted):
        fields: dict[str, Any] = {"accepted": True, "source": answer.source}
        fields |= {"width": answer.width, "height": answer.height}
    else:
        fields = {"accepted": False, "reason": answer.reason}
    text = json.dumps(fields).encode()
    return ANSWER_PREFIX.pack(len(text)) + text


def decode_answer(data: bytes) -> PictureAnswer:
    """An answer without its prefix. Raises MalformedPacket if it is no such answer."""
    fields = _object(data, "the answer")
    try:
        if fields["accepted"] is True:
            return PictureAccepted(str(fields["source"]), int(fields["width"]), int(fields["height"]))
        return PictureRefused(str(fields["reason"]))
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedPacket("the answer lacks a field") from error


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    # RecursionError: a few kilobytes of brackets.
    except (ValueError, RecursionError) as error:
        raise MalformedPacket(f"{name} is no JSON") from error
    if not isinstance(fields, dict):
        raise MalformedPacket(f"{name} is no JSON object")
    return fields


def _require_number(value: object, name: str, least: float, most: float) -> None:
    if value is not None:
        valid = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        _require(valid, f"{name} is no number in {least:g}…{most:.10g}")


def _require(valid: bool, rule: str) -> None:
    if not valid:
        raise MalformedPacket(rule)
