"""Codec for the colours of the body's 2,048 surface points: a few kilobytes.

    visibility and colours ─ luma and two chromas ─ hierarchical transform ─ quantise ─ zstandard

The points are put into k-d tree order and transformed by the region-adaptive hierarchical transform (de Queiroz and
Chou, 2016, "Compression of 3D Point Clouds Using a Region-Adaptive Hierarchical Transform"), a Haar transform with
weights: each pair of neighbours becomes its mean and its difference, then each pair of means, up to a single mean.
Unseen points have weight zero, so there are as many coefficients as seen points.  The transform is orthonormal: the
quantisation error of the coefficients is that of the colours.

Layout: a version byte, then a zstandard frame of one visibility bit per point in k-d tree order, the low bytes of the
coefficients, and their high bytes; luma before the chromas, each from the single mean to the finest differences.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from common.arrays import BoolArray, ByteArray, Float64Array, IntArray
from common.body.anatomy import POINTS
from common.errors import MalformedPacket

VERSION = 1
MAX_BYTES = 6144
"""Upper limit of an encoded blob."""

_COMPRESSION_LEVEL = 19
_BITMAP_BYTES = POINTS // 8
_HEADER_BYTES = 1
_MAX_UNPACKED_BYTES = _BITMAP_BYTES + 2 * 3 * POINTS
# Valid blobs are small; a frame that asks for a larger window is hostile.
_MAX_WINDOW_BYTES = 1 << 17

# Orthonormal colour axes: luma, blue minus red, green minus both.
_COLOUR_AXES = np.array([[1, 1, 1], [-1, 0, 1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])
_MID_GREY = 128.0
_STEPS = np.array([8.0, 10.0, 10.0])
# A dead zone wider than half a step: it saves more bits than it adds distortion.
_ROUNDING_THRESHOLD = 0.58

POINT_ORDER_FILE = Path(__file__).with_name("point_order.npz")


@dataclass(frozen=True, slots=True, eq=False)
class PointColours:
    """Colours of the surface points of one person.

    Args:
        colours: (2048, 3) uint8 RGB; black for unseen points.
        seen: (2048,) bool; the points whose colours are known.
    """

    colours: ByteArray
    seen: BoolArray


def encode(colours: ByteArray, seen: BoolArray) -> bytes:
    """The colours of the seen points in at most `MAX_BYTES` bytes.

    Args:
        colours: (2048, 3) uint8 RGB; those of unseen points are ignored.
        seen: (2048,) bool.

    Raises:
        ValueError: wrong shapes or types.
    """
    shapes_fit = colours.shape == (POINTS, 3) and seen.shape == (POINTS,)
    if not shapes_fit or colours.dtype != np.uint8 or seen.dtype != np.bool_:
        raise ValueError(f"expected colours ({POINTS}, 3) uint8 and seen ({POINTS},) bool")
    order = point_order()
    scaled = _analyse((colours[order] - _MID_GREY) @ _COLOUR_AXES.T, seen[order]) / _STEPS
    quantised = (np.sign(scaled) * np.floor(np.abs(scaled) + 1 - _ROUNDING_THRESHOLD)).astype(np.int64)
    return _pack(quantised, seen[order])


def decode(data: bytes) -> PointColours:
    """The inverse of `encode`, up to quantisation.

    Raises:
        MalformedPacket: the data have another version, are cut short, or were not written by `encode`.
    """
    quantised, seen_in_order = _unpack(data)
    rgb = _synthesise(quantised * _STEPS, seen_in_order) @ _COLOUR_AXES + _MID_GREY
    order = point_order()
    colours, seen = np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_)
    seen[order] = seen_in_order
    colours[order] = np.where(seen_in_order[:, None], np.clip(np.rint(rgb), 0, 255), 0)
    return PointColours(colours, seen)


@functools.cache
def point_order() -> IntArray:
    """(2048,) k-d tree order of the surface points on the mean body at rest (`common.training.fit_point_order`)."""
    with np.load(POINT_ORDER_FILE) as arrays:
        order: IntArray = arrays["order"].astype(np.int64)
    return order


def _pack(quantised: IntArray, seen: BoolArray) -> bytes:
    # Zigzag: 0, −1, 1, −2, … become 0, 1, 2, 3, …
    zigzag = np.where(quantised < 0, -2 * quantised - 1, 2 * quantised).T
    planes = [np.packbits(seen), (zigzag & 0xFF).astype(np.uint8), (zigzag >> 8).astype(np.uint8)]
    content = b"".join(plane.tobytes() for plane in planes)
    return bytes([VERSION]) + zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(content)


def _unpack(data: bytes) -> tuple[IntArray, BoolArray]:
    """(K, 3) quantised coefficients of the K seen points, and the visibility (2048,) in k-d tree order."""
    if not _HEADER_BYTES < len(data) <= MAX_BYTES:
        raise MalformedPacket(f"point colours of {len(data)} bytes: expected {_HEADER_BYTES + 1} to {MAX_BYTES}")
    if data[0] != VERSION:
        raise MalformedPacket(f"point colours of version {data[0]}: only version {VERSION} is known")
    content = _decompress(data[_HEADER_BYTES:])
    if len(content) < _BITMAP_BYTES:
        raise MalformedPacket("point colours lack the visibility of the points")
    seen = np.unpackbits(np.frombuffer(content, np.uint8, _BITMAP_BYTES)).astype(np.bool_)
    count = int(seen.sum())
    if len(content) != _BITMAP_BYTES + 6 * count:
        raise MalformedPacket(f"point colours of {count} points in {len(content)} bytes")
    low, high = np.frombuffer(content, np.uint8, offset=_BITMAP_BYTES).reshape(2, 3, count).astype(np.int64)
    zigzag = low + 256 * high
    return np.where(zigzag % 2 == 1, -(zigzag + 1) // 2, zigzag // 2).T, seen


def _decompress(frame: bytes) -> bytes:
    # A stream reader limits its output; the size in the frame's header is not trustworthy.
    try:
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(frame) as reader:
            content = reader.read(_MAX_UNPACKED_BYTES + 1)
    except zstandard.ZstdError as error:
        raise MalformedPacket(f"point colours cannot be decompressed: {error}") from error
    if len(content) > _MAX_UNPACKED_BYTES:
        raise MalformedPacket(f"point colours decompress to more than {_MAX_UNPACKED_BYTES} bytes")
    return content


def _weights(seen: BoolArray) -> list[IntArray]:
    """The number of seen points below each node, one array per level of the tree, from the leaves to the root."""
    levels = [seen.astype(np.int64)]
    while len(levels[-1]) > 1:
        levels.append(levels[-1].reshape(-1, 2).sum(axis=1))
    return levels


def _analyse(values: Float64Array, seen: BoolArray) -> Float64Array:
    """(2048, C) in k-d tree order → (K, C) coefficients of the K seen points, from the coarsest to the finest."""
    coefficients: list[Float64Array] = []
    for weights in _weights(seen)[:-1]:
        cosine, sine, both = _pair_rotations(weights)
        left, right = values[0::2], values[1::2]
        coefficients.append((cosine * right - sine * left)[both])
        values = cosine * left + sine * right
    coefficients.append(values[: int(seen.any())])
    return np.concatenate(coefficients[::-1])


def _synthesise(coefficients: Float64Array, seen: BoolArray) -> Float64Array:
    """The inverse of `_analyse`; values of unseen points are undefined."""
    start = int(seen.any())
    values = np.zeros((1, coefficients.shape[1]))
    values[:start] = coefficients[:start]
    for weights in _weights(seen)[-2::-1]:
        cosine, sine, both = _pair_rotations(weights)
        difference = np.zeros_like(values)
        end = start + int(both.sum())
        difference[both] = coefficients[start:end]
        start = end
        pair = np.stack([cosine * values - sine * difference, sine * values + cosine * difference], axis=1)
        values = pair.reshape(-1, values.shape[1])
    return values


def _pair_rotations(weights: IntArray) -> tuple[Float64Array, Float64Array, BoolArray]:
    """The rotations of n pairs into mean and difference: cosines (n, 1), sines (n, 1), and where both have weight."""
    left, right = weights[0::2], weights[1::2]
    total = np.maximum(left + right, 1)
    return np.sqrt(left / total)[:, None], np.sqrt(right / total)[:, None], (left > 0) & (right > 0)
