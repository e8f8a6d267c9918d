"""Key pictures: one small, sharp picture of a person, as the blob of the kind `PICTURE`.

Layout: the version, one byte; height and width, two bytes each; the time of capture in seconds since the epoch, a
float64; the stream of the picture codec.  All numbers are big-endian.
"""

import math
import struct
from dataclasses import dataclass

from common.arrays import Image
from common.errors import MalformedPacket
from common.picture_codec.weights import load_codecs

VERSION = 1
MAX_BYTES = 32_768
"""Upper limit of the blob."""
MAX_PICTURE_SIDE_PX = 256
_HEADER = struct.Struct(">BHHd")
# The best: the codec ends where a photograph just looks sharp.
_QUALITY = 100


@dataclass(frozen=True, slots=True, eq=False)
class KeyPicture:
    """A picture of one person.

    Args:
        image: (H, W, 3) RGB of 8 bits, with at most `MAX_PICTURE_SIDE_PX` a side.
        captured_at: seconds since the epoch, on the sender's clock.
    """

    image: Image
    captured_at: float


def encode(picture: KeyPicture) -> bytes:
    """The content of the blob.

    Raises:
        ValueError: the picture is too large.
        WeightsError: the picture codec's weights are missing or damaged.
    """
    height, width = picture.image.shape[:2]
    if max(height, width) > MAX_PICTURE_SIDE_PX:
        raise ValueError(f"a key picture of {height} × {width} pixels; they have up to {MAX_PICTURE_SIDE_PX} a side")
    stream = load_codecs()[0].encode(picture.image, _QUALITY)
    return _HEADER.pack(VERSION, height, width, picture.captured_at) + stream


def check(data: bytes) -> tuple[int, int, float]:
    """Height, width and time of capture, without decoding the picture.

    Raises:
        MalformedPacket: the blob is none of a key picture.
    """
    if not _HEADER.size < len(data) <= MAX_BYTES:
        raise MalformedPacket(f"a key picture of {len(data)} bytes; they have up to {MAX_BYTES}")
    version, height, width, captured_at = _HEADER.unpack_from(data)
    if version != VERSION:
        raise MalformedPacket(f"a key picture of version {version}: only version {VERSION} is known")
    if not (1 <= height <= MAX_PICTURE_SIDE_PX and 1 <= width <= MAX_PICTURE_SIDE_PX):
        raise MalformedPacket(f"a key picture of {height} × {width} pixels")
    if not math.isfinite(captured_at):
        raise MalformedPacket("a key picture without a time")
    return height, width, captured_at


def decode(data: bytes) -> KeyPicture:
    """The key picture.

    Raises:
        MalformedPacket: it does not decode.
        WeightsError: the picture codec's weights are missing or damaged.
    """
    height, width, captured_at = check(data)
    return KeyPicture(load_codecs()[0].decode(data[_HEADER.size :], height, width), captured_at)
