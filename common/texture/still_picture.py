"""Square RGB pictures as AV1 still pictures: what an AVIF file has inside its container, which is the same for all.

A stream is the length of the sequence header, one byte; the sequence header; and the data of one frame (AV1 Bitstream
and Decoding Process Specification, 5.5 and 5.10).  Without the container and the frames of its units, 280 bytes of
each picture are saved, and nothing of a container has to be trusted.
"""

import io
import struct

import numpy as np
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from common.arrays import Image
from common.errors import MalformedPacket

QUALITY = 46
"""Tiles of the texture bench are closer to their originals than WebP's of quality 60 to 72: mean error, MS-SSIM."""
# libaom's: a tile takes about 10 ms.  6 takes three times as long for 4 % fewer bytes.
_SPEED = 8
# Headers of AV1's units, each of which says its size: temporal delimiter, sequence header, frame.
_DELIMITER, _SEQUENCE, _FRAME = b"\x12\0", b"\x0a", b"\x32"
# Sizes of boxes are part of them; `%b` are the length of the data, the picture's sides, and the size of its box.
_CONTAINER = (
    b"\0\0\0 ftypavif\0\0\0\0avifmif1miafMA1A"
    b"\0\0\0\xebmeta\0\0\0\0"
    b"\0\0\0!hdlr\0\0\0\0\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"
    b"\0\0\0\x0epitm\0\0\0\0\0\x01"
    b"\0\0\0\x1eiloc\0\0\0\0D\0\0\x01\0\x01\0\0\0\x01\0\0\x01\x13%b"
    b"\0\0\0(iinf\0\0\0\0\0\x01\0\0\0\x1ainfe\x02\0\0\0\0\x01\0\0av01Color\0"
    b"\0\0\0jiprp\0\0\0Kipco"
    b"\0\0\0\x14ispe\0\0\0\0%b%b"
    b"\0\0\0\x10pixi\0\0\0\0\x03\x08\x08\x08"
    b"\0\0\0\x0cav1C\x81 \0\0"
    b"\0\0\0\x13colrnclx\0\x01\0\r\0\x06\x80"
    b"\0\0\0\x17ipma\0\0\0\0\0\0\0\x01\0\x01\x04\x01\x02\x83\x04"
    b"%bmdat"
)


def encode(picture: Image, quality: int = QUALITY) -> bytes:
    """The stream of a picture (n, n, 3); the quality is 0 to 100."""
    file = io.BytesIO()
    options = {"quality": quality, "speed": _SPEED, "subsampling": "4:4:4", "codec": "aom", "max_threads": 1}
    Picture.fromarray(picture).save(file, "AVIF", **options)
    _, _, units = file.getvalue().partition(b"mdat" + _DELIMITER + _SEQUENCE)
    end = 1 + units[0]
    frame = units[end + 1 :]
    # The frame's size: seven bits a byte, and whether another one follows.
    while frame[0] & 0x80:
        frame = frame[1:]
    return units[:end] + frame[1:]


def decode(stream: bytes, side: int) -> Image:
    """The picture (side, side, 3) of a stream.

    Raises:
        MalformedPacket: it is no picture of this size.
    """
    # A frame has the size in its sequence header, so nothing larger is ever decoded.
    if _sides(stream) != (side, side):
        raise MalformedPacket(f"a picture that does not say that it has {side} pixels a side")
    try:
        with Picture.open(io.BytesIO(_file(stream, side)), formats=["AVIF"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, RuntimeError) as error:
        raise MalformedPacket(f"a picture cannot be decoded: {error}") from error


def _sides(stream: bytes) -> tuple[int, int] | None:
    """Width and height in a stream's sequence header (AV1, 5.5.1); None unless it is a still picture's."""
    header = stream[1:9]
    if len(header) < 8 or stream[0] < 8 or not header[0] & 0x10 or not header[0] & 0x08:
        return None
    bits = f"{int.from_bytes(header, 'big'):064b}"
    width_end = 18 + int(bits[10:14], 2) + 1
    height_end = width_end + int(bits[14:18], 2) + 1
    return int(bits[18:width_end], 2) + 1, int(bits[width_end:height_end], 2) + 1


def _file(stream: bytes, side: int) -> bytes:
    """The AVIF file of a stream."""
    end = 1 + stream[0]
    frame = stream[end:]
    frame_size = bytes([len(frame) & 0x7F | 0x80, len(frame) >> 7 & 0x7F | 0x80, len(frame) >> 14])
    data = _DELIMITER + _SEQUENCE + stream[:end] + _FRAME + frame_size + frame
    length, pixels, box = (struct.pack(">I", number) for number in (len(data), side, 8 + len(data)))
    return _CONTAINER % (length, pixels, pixels, box) + data
