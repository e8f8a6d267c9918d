"""The colours of a body's surface points as a few kilobytes, and back.

    seen and colours ─ luma and two chromas ─ transform over the tree of points ─ quantise ─ zstandard

The transform is the region-adaptive hierarchical one (de Queiroz and Chou, 2016, "Compression of 3D Point Clouds Using
a Region-Adaptive Hierarchical Transform"): neighbours along the curve (`common.body.point_order`) are turned into their
mean and their difference, the means likewise, up to one mean of all.  A point that was not seen counts for nothing, so
there are as many coefficients as seen points, whichever these are.  It is orthonormal: a quantiser's error is the
colours' error.

Layout: a version byte, then a zstandard frame of a bit a point (seen or not, along the curve), of the low bytes of the
coefficients, and of their high bytes; luma before the chromas, each from the mean of all to the finest differences.
"""

import functools
from dataclasses import dataclass

import numpy as np
import zstandard

from common.arrays import BoolArray, ByteArray, Float64Array, IntArray
from common.body.anatomy import POINTS
from common.body.point_order import point_order
from common.errors import MalformedPacket

VERSION = 1
LARGEST = 6144
"""No blob is longer, bytes."""

_COMPRESSION_LEVEL = 19
_BITMAP = POINTS // 8
_HEADER = 1
_UNPACKED_LARGEST = _BITMAP + 2 * 3 * POINTS
# Nobody needs a larger window for so little; who asks for one does not mean well.
_WINDOW_LARGEST = 1 << 17

# Orthonormal: light, blue against red, green against both.
_AXES = np.array([[1, 1, 1], [-1, 0, 1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])
_MIDDLE = 128.0
_STEPS = np.array([8.0, 10.0, 10.0])
# Above one half: what rounds to nothing a little sooner saves more bits than it costs truth.
_ROUND_UP_FROM = 0.58


@dataclass(frozen=True, slots=True, eq=False)
class PointColours:
    """What one person's surface looks like, as far as it was seen.

    Args:
        colours: (2048, 3) uint8 RGB; black where nothing was seen.
        seen: (2048,) bool.
    """

    colours: ByteArray
    seen: BoolArray


def encode(colours: ByteArray, seen: BoolArray) -> bytes:
    """At most `LARGEST` bytes, however wild the colours.

    Args:
        colours: (2048, 3) uint8 RGB.
        seen: (2048,) bool; the colours of the others do not matter.

    Raises:
        ValueError: other shapes or types.
    """
    shapes_fit = colours.shape == (POINTS, 3) and seen.shape == (POINTS,)
    if not shapes_fit or colours.dtype != np.uint8 or seen.dtype != np.bool_:
        raise ValueError(f"expected colours ({POINTS}, 3) uint8 and seen ({POINTS},) bool")
    order = _order()
    steps = _analyse((colours[order] - _MIDDLE) @ _AXES.T, seen[order]) / _STEPS
    rounded = (np.sign(steps) * np.floor(np.abs(steps) + 1 - _ROUND_UP_FROM)).astype(np.int64)
    return _pack(rounded, seen[order])


def decode(data: bytes) -> PointColours:
    """What `encode` was given, but for what quantisation took.

    Raises:
        MalformedPacket: it is of another version, cut short, or nothing that `encode` gives.
    """
    rounded, seen_in_order = _unpack(data)
    rgb = _synthesise(rounded * _STEPS, seen_in_order) @ _AXES + _MIDDLE
    order = _order()
    colours, seen = np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_)
    seen[order] = seen_in_order
    colours[order] = np.where(seen_in_order[:, None], np.clip(np.rint(rgb), 0, 255), 0)
    return PointColours(colours, seen)


@functools.cache
def _order() -> IntArray:
    return point_order()


def _pack(rounded: IntArray, seen: BoolArray) -> bytes:
    # Small numbers of either sign become small numbers without one.
    folded = np.where(rounded < 0, -2 * rounded - 1, 2 * rounded).T
    planes = [np.packbits(seen), (folded & 0xFF).astype(np.uint8), (folded >> 8).astype(np.uint8)]
    content = b"".join(plane.tobytes() for plane in planes)
    return bytes([VERSION]) + zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(content)


def _unpack(data: bytes) -> tuple[IntArray, BoolArray]:
    """(K, 3) rounded coefficients of the K points seen, and which of the 2,048 along the curve those are."""
    if not _HEADER < len(data) <= LARGEST:
        raise MalformedPacket(f"point colours of {len(data)} bytes: expected {_HEADER + 1} to {LARGEST}")
    if data[0] != VERSION:
        raise MalformedPacket(f"point colours of version {data[0]}: only version {VERSION} is known")
    content = _decompress(data[_HEADER:])
    if len(content) < _BITMAP:
        raise MalformedPacket("point colours do not say which points were seen")
    seen = np.unpackbits(np.frombuffer(content, np.uint8, _BITMAP)).astype(np.bool_)
    count = int(seen.sum())
    if len(content) != _BITMAP + 6 * count:
        raise MalformedPacket(f"point colours of {count} points in {len(content)} bytes")
    low, high = np.frombuffer(content, np.uint8, offset=_BITMAP).reshape(2, 3, count).astype(np.int64)
    folded = low + 256 * high
    return np.where(folded % 2 == 1, -(folded + 1) // 2, folded // 2).T, seen


def _decompress(frame: bytes) -> bytes:
    # A stream reader, for it gives no more than asked for, whatever the frame says of its own size.
    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW_LARGEST).stream_reader(frame) as reader:
            content = reader.read(_UNPACKED_LARGEST + 1)
    except zstandard.ZstdError as error:
        raise MalformedPacket(f"point colours cannot be decompressed: {error}") from error
    if len(content) > _UNPACKED_LARGEST:
        raise MalformedPacket(f"point colours decompress to more than {_UNPACKED_LARGEST} bytes")
    return content


def _weights(seen: BoolArray) -> list[IntArray]:
    """How many seen points each node of the tree holds, from the leaves to the root."""
    levels = [seen.astype(np.int64)]
    while len(levels[-1]) > 1:
        levels.append(levels[-1].reshape(-1, 2).sum(axis=1))
    return levels


def _analyse(values: Float64Array, seen: BoolArray) -> Float64Array:
    """(2048, C) along the curve → (K, C) coefficients of the K points seen, from the coarsest to the finest."""
    found: list[Float64Array] = []
    for weights in _weights(seen)[:-1]:
        first, second, both = _turns(weights)
        left, right = values[0::2], values[1::2]
        found.append((first * right - second * left)[both])
        values = first * left + second * right
    found.append(values[: int(seen.any())])
    return np.concatenate(found[::-1])


def _synthesise(coefficients: Float64Array, seen: BoolArray) -> Float64Array:
    """The inverse of `_analyse`; what was not seen is anything."""
    start = int(seen.any())
    values = np.zeros((1, coefficients.shape[1]))
    values[:start] = coefficients[:start]
    for weights in _weights(seen)[-2::-1]:
        first, second, both = _turns(weights)
        difference = np.zeros_like(values)
        end = start + int(both.sum())
        difference[both] = coefficients[start:end]
        start = end
        pair = np.stack([first * values - second * difference, second * values + first * difference], axis=1)
        values = pair.reshape(-1, values.shape[1])
    return values


def _turns(weights: IntArray) -> tuple[Float64Array, Float64Array, BoolArray]:
    """Cosine (n, 1) and sine (n, 1) of the rotation that takes n pairs to mean and difference, and which have both."""
    left, right = weights[0::2], weights[1::2]
    total = np.maximum(left + right, 1)
    return np.sqrt(left / total)[:, None], np.sqrt(right / total)[:, None], (left > 0) & (right > 0)
