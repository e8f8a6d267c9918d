"""Messages between a program and a sender that takes its pictures: `sender --camera socket:PATH`.

    program ─→ sender   uint32 header size · uint32 image size · header (JSON object, UTF-8) · image
    sender ─→ program   uint32 answer size · answer (JSON object, UTF-8)

Integers are little-endian. Each message is answered, in order; docs/protocol.md describes the fields.
"""

import struct
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from common.errors import MalformedPacket
from common.frames import MAX_CAPTURED_AT_S, MAX_FOCAL_PX, MIN_FOCAL_PX
from common.text import printable

MESSAGE_PREFIX = struct.Struct("<II")
ANSWER_PREFIX = struct.Struct("<I")
MAX_HEADER_BYTES = 4096
MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_ANSWER_BYTES = 4096
MAX_NAME_BYTES = 200
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_T = TypeVar("_T")


def _printable(name: str) -> str:
    if not name.isprintable() or not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"a name is printable and has 1 to {MAX_NAME_BYTES} bytes")
    return name


def _epoch_s(seconds: float) -> float:
    if not 0.0 <= seconds <= MAX_CAPTURED_AT_S:
        raise ValueError(f"times are seconds since 1970, not milliseconds, and before 2100: {seconds:g} is none")
    return seconds


@dataclass(frozen=True, slots=True, config=_STRICT)
class PictureHeader:
    """What a program says about a picture; every field may be left out.

    Args:
        name: of the picture, or of the live camera; printable, up to `MAX_NAME_BYTES` in UTF-8.
        captured_at: seconds since the epoch; the time of arrival if None.
        focal_px: focal length in pixels; the sender's `--focal-px` if None.
    """

    name: Annotated[str, AfterValidator(_printable)] | None = None
    captured_at: Annotated[float, AfterValidator(_epoch_s)] | None = None
    focal_px: Annotated[float, Field(ge=MIN_FOCAL_PX, le=MAX_FOCAL_PX)] | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class PictureAccepted:
    """The sender has decoded a picture and will send what is in it.

    Args:
        source: its name in the frame that it becomes.
        width, height: upright, pixels.
    """

    source: str
    width: int
    height: int
    accepted: Literal[True] = True


@dataclass(frozen=True, slots=True, config=_STRICT)
class PictureRefused:
    """The sender does not take a picture; `reason` says why in one line."""

    reason: str
    accepted: Literal[False] = False


PictureAnswer = PictureAccepted | PictureRefused
_HEADER: TypeAdapter[PictureHeader] = TypeAdapter(PictureHeader)
_ANSWER: TypeAdapter[PictureAnswer] = TypeAdapter(PictureAnswer)


def encode_picture(header: PictureHeader, image: bytes) -> bytes:
    """A whole message. Raises MalformedPacket if the image is empty or larger than `MAX_IMAGE_BYTES`."""
    text = _HEADER.dump_json(header, exclude_none=True)
    check_sizes(len(text), len(image))
    return MESSAGE_PREFIX.pack(len(text), len(image)) + text + image


def check_sizes(header_bytes: int, image_bytes: int) -> None:
    """Checks the sizes in a message's prefix.

    Raises:
        MalformedPacket: one is out of range, so that the rest of the message cannot be read.
    """
    if not 2 <= header_bytes <= MAX_HEADER_BYTES:
        raise MalformedPacket(f"a header has 2 to {MAX_HEADER_BYTES} bytes, not {header_bytes}")
    if not 1 <= image_bytes <= MAX_IMAGE_BYTES:
        raise MalformedPacket(f"an image has 1 to {MAX_IMAGE_BYTES} bytes, not {image_bytes}")


def decode_header(data: bytes) -> PictureHeader:
    """The header of a message.

    Raises:
        MalformedPacket: it is no JSON object, or a field is unknown or out of range.
    """
    return _decoded(_HEADER, data, "header")


def encode_answer(answer: PictureAnswer) -> bytes:
    """An answer with its prefix."""
    text = _ANSWER.dump_json(answer)
    return ANSWER_PREFIX.pack(len(text)) + text


def decode_answer(data: bytes) -> PictureAnswer:
    """An answer without its prefix. Raises MalformedPacket if it is no such answer."""
    return _decoded(_ANSWER, data, "answer")


def _decoded(adapter: TypeAdapter[_T], data: bytes, name: str) -> _T:
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        where = printable(".".join(map(str, (name, *first["loc"]))), MAX_NAME_BYTES)
        raise MalformedPacket(f"{where}: {first['msg']}") from error
