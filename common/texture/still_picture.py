"""A tile of the texture atlas as bytes: its picture, and a lossless mask of the texels that are known.

Texels are coded from coarse to fine: the corners of a grid, then the centres of its squares, then the middles of their
sides, then the same at half the size.  The probability of each depends on the twelve nearest texels that were coded
before it, so all texels of a step are coded at once.  A mask that would take more than a bit a texel is sent as it is.

Square RGB pictures as AV1 still pictures: what an AVIF file has inside its container, which is the same for all.

A stream is the length of the sequence header, one byte; the sequence header; and the data of one frame (AV1 Bitstream
and Decoding Process Specification, 5.5 and 5.10).  Without the container and the frames of its units, 280 bytes of
each picture are saved, and nothing of a container has to be trusted.
"""

import io
import itertools
import struct
from functools import cache, lru_cache
from pathlib import Path
from typing import Self

import constriction
import cv2
import numpy as np
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from common.arrays import BoolArray, Float64Array, FloatArray, Image, IntArray
from common.codec.range_coder import padded_words, shortest_stream
from common.errors import MalformedPacket

_COARSEST = 16
_NEIGHBOURS = 12
# Of the corners, the centres of squares and the middles of their sides, in half sides of a square.
_CENTRE_OFFSETS = (
    *itertools.product((-1, 1), (-1, 1)),
    *itertools.product((-1, 1), (-3, 3)),
    *itertools.product((-3, 3), (-1, 1)),
)
_SIDE_OFFSETS = (
    *((0, -1), (0, 1), (-1, 0), (1, 0)),
    *itertools.product((-1, 1), (-2, 2)),
    *itertools.product((-2, 2), (-1, 1)),
)
_REACH = 3
_CLASSES = 3
CONTEXTS = 2 * _CLASSES << _NEIGHBOURS
"""Sets of neighbours that have a probability of their own: in two kinds of step, at three distances."""
_PROBABILITY_BITS = 16
_FREQUENCIES_FILE = Path(__file__).with_name("mask_frequencies.npz")
_FAMILY = constriction.stream.model.Bernoulli(perfect=False)


class MaskCodec:
    """Encodes and decodes masks.

    Args:
        ones: (CONTEXTS,) frequency of a known texel in each context, 1…2¹⁶ − 1.
    """

    def __init__(self, ones: IntArray) -> None:
        self._probability: Float64Array = ones / float(1 << _PROBABILITY_BITS)

    @classmethod
    @cache
    def load(cls) -> Self:
        """With the package's frequencies, the same object at every call."""
        with np.load(_FREQUENCIES_FILE) as arrays:
            return cls(arrays["known"].astype(np.int64))

    def encode(self, mask: BoolArray) -> bytes:
        """A mask (n, n), n a multiple of 16; empty if all texels are known."""
        if mask.all():
            return b""
        coder = constriction.stream.queue.RangeEncoder()
        corners = mask[::_COARSEST, ::_COARSEST].astype(np.int32).ravel()
        coder.encode(corners, _FAMILY, np.full(len(corners), 0.5))
        for step in _steps(len(mask)):
            bits = mask[step.rows, step.columns].astype(np.int32)
            coder.encode(bits, _FAMILY, self._probability[step.contexts(mask)])
        # An empty string is a mask without unknown texels.
        data = shortest_stream(coder) or b"\0"
        return data if len(data) < mask.size // 8 else np.packbits(mask).tobytes()

    def decode(self, data: bytes, size: int) -> BoolArray:
        """The mask (size, size). Raises MalformedPacket if the bytes are no mask of this size."""
        if not data:
            return np.ones((size, size), np.bool_)
        if len(data) > size * size // 8:
            raise MalformedPacket(f"a mask of {len(data)} bytes for {size} texels a side")
        if len(data) == size * size // 8:
            return np.unpackbits(np.frombuffer(data, np.uint8)).reshape(size, size).astype(np.bool_)
        coder = constriction.stream.queue.RangeDecoder(padded_words(data))
        mask = np.zeros((size, size), np.bool_)
        corners = mask[::_COARSEST, ::_COARSEST]
        try:
            corners[...] = coder.decode(_FAMILY, np.full(corners.size, 0.5)).reshape(corners.shape)
            for step in _steps(size):
                mask[step.rows, step.columns] = coder.decode(_FAMILY, self._probability[step.contexts(mask)])
        except (ValueError, AssertionError) as error:
            raise MalformedPacket("the mask has an invalid range-coded stream") from error
        return mask


class _Step:
    """The texels of a mask that are coded together.

    Args:
        size: texels along a side of the mask.
        half: texels from one of the texels coded before, or now, to the next along a row.
        centres: the centres of squares; else the middles of their sides.
    """

    def __init__(self, size: int, half: int, *, centres: bool) -> None:
        cells = size // half
        row, column = np.divmod(np.arange(cells * cells), cells)
        chosen = (row & column & 1 > 0) if centres else ((row ^ column) & 1 > 0)
        row, column = row[chosen], column[chosen]
        self.rows: IntArray = row * half
        self.columns: IntArray = column * half
        self._half, self._row, self._column = half, row, column
        # Their sum is the number of a set of neighbours.
        self._powers: FloatArray = np.zeros((2 * _REACH + 1, 2 * _REACH + 1), np.float32)
        for bit, (down, right) in enumerate(_CENTRE_OFFSETS if centres else _SIDE_OFFSETS):
            self._powers[_REACH + down, _REACH + right] = 1 << bit
        self._first = ((2 * min(half.bit_length() - 1, _CLASSES - 1)) + int(centres)) << _NEIGHBOURS

    def contexts(self, mask: BoolArray) -> IntArray:
        """Context of each texel, as far as the mask (size, size) is coded before this step."""
        coded = mask[:: self._half, :: self._half].astype(np.float32)
        # Reflected, the texels outside are coded in the same steps as those inside.
        sets = cv2.filter2D(coded, -1, self._powers, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(self._first + sets[self._row, self._column].astype(np.int64))


@lru_cache(maxsize=4)
def _steps(size: int) -> tuple[_Step, ...]:
    halves = [_COARSEST >> level for level in range(1, _COARSEST.bit_length())]
    return tuple(_Step(size, half, centres=centres) for half in halves for centres in (True, False))


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
