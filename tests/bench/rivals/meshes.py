"""Meshes instead of labels: the body's template of every frame, with Draco or as changes of its vertices.

Draco carries connectivity in every frame and knows no other frame.  Vertex changes are those of quantised
positions, in a known order: the connectivity never travels.  Sizes and errors are those of the chosen frames.

Shapes: n chosen frames, V' vertices, F' triangles.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final, TypeVar

import numpy as np
import zstandard
from scipy.spatial import cKDTree

from common.arrays import FloatArray, Int32Array, IntArray
from common.codec.range_coder import SymbolReader, SymbolWriter, table_symbols
from common.codec.tables import SCALES, SYMBOLS, CodecTables, load, to_frequencies

STEPS_M: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
"""Quantiser steps of vertex positions."""
BITS: Final = (5, 6, 7, 8, 9, 10, 11)
"""Bits of a coordinate in Draco."""
_DRACO_LEVEL: Final = 7
_ZSTD_LEVEL: Final = 19
_PRIOR_COUNT: Final = 300.0
_SPREAD_UNIT: Final = 1 << 16

Values = TypeVar("Values", FloatArray, IntArray)
Found = TypeVar("Found", FloatArray, IntArray)


@dataclass(frozen=True, eq=False)
class SentMeshes:
    """Meshes at the receiver.

    Args:
        skins: (n, V', 3) as decoded, in the template's order.
        encode_ms, decode_ms: mean time of a mesh.
    """

    sizes: tuple[int, ...]
    skins: FloatArray
    encode_ms: float
    decode_ms: float


def missing_draco() -> str | None:
    """What to install for Draco; None if it is there."""
    return None if find_spec("DracoPy") else "dracopy is not installed: pip install -e '.[bench]'"


def through_draco(skins: FloatArray, faces: Int32Array, bits: int) -> SentMeshes:
    """Each mesh in Draco's edgebreaker code with positions of so many bits; it orders vertices as it likes."""
    draco = importlib.import_module("DracoPy")

    def encode(skin: FloatArray) -> bytes:
        data: bytes = draco.encode(skin, faces, quantization_bits=bits, compression_level=_DRACO_LEVEL)
        return data

    sent = _timed(skins, encode, lambda data: np.asarray(draco.decode(data).points, np.float32))
    ordered = [_in_order(skin, found) for skin, found in zip(skins, sent[1], strict=True)]
    return SentMeshes(sent[0], np.stack(ordered), *sent[2:])


def _in_order(skin: FloatArray, found: FloatArray) -> FloatArray:
    """Decoded vertices in the template's order: to each true one the nearest, as the code does not tell which it is."""
    return np.asarray(found[cKDTree(found).query(skin)[1]], np.float32)


def through_deltas(
    before: FloatArray, skins: FloatArray, step_m: float, coder: "ZstdDeltas | RangeDeltas"
) -> SentMeshes:
    """Quantised vertices: of the first mesh all positions, with zstandard; of the others their changes.

    Args:
        before: (n, V', 3) the frame before each; of the first, ignored.
        skins: (n, V', 3).
        step_m: of the quantiser.
        coder: of the changes.
    """
    last, now = (np.rint(meshes / step_m).astype(np.int64) for meshes in (before, skins))
    last[0] = 0
    shape = skins[0].shape
    first = ZstdDeltas()
    key_size, key, *times = _timed(now[:1], first.encode, lambda data: np.asarray(first.decode(data).reshape(shape)))
    sizes, changes = key_size, list(key)
    if len(now) > 1:
        more, found, *times = _timed(
            now[1:] - last[1:], coder.encode, lambda data: np.asarray(coder.decode(data).reshape(shape))
        )
        sizes, changes = (*key_size, *more), [*key, *found]
    return SentMeshes(sizes, ((last + np.stack(changes)) * step_m).astype(np.float32), *times)


class ZstdDeltas:
    """Changes as 16-bit numbers, axis by axis, low bytes before high ones, with zstandard."""

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._unpacker = zstandard.ZstdDecompressor()

    def encode(self, change: IntArray) -> bytes:
        """The changes (V', 3) of a frame as bytes."""
        planes = change.T.astype("<i2").ravel().view(np.uint8).reshape(-1, 2).T
        packed: bytes = self._packer.compress(planes.tobytes())
        return packed

    def decode(self, data: bytes) -> IntArray:
        """The changes (V', 3) from bytes."""
        planes = np.frombuffer(self._unpacker.decompress(data), np.uint8).reshape(2, -1)
        return np.ascontiguousarray(planes.T).view("<i2").reshape(3, -1).T.astype(np.int64)


class RangeDeltas:
    """Changes range coded with one static table for all vertices and axes, each relative to that of the vertex before.

    Neighbours in the order of the vertices mostly are neighbours on the body, and move alike.

    Args:
        training: (N, V', 3) changes to fit the table to, in steps.
        vertices: V'.
    """

    def __init__(self, training: IntArray, vertices: int) -> None:
        self._tables, self._scale, self._shift = _static_table(_along_vertices(training), 3 * vertices)

    def encode(self, change: IntArray) -> bytes:
        """The changes (V', 3) of a frame as bytes."""
        writer = SymbolWriter(self._tables)
        writer.residuals(self._scale, self._shift, _along_vertices(change).ravel())
        return writer.finish()

    def decode(self, data: bytes) -> IntArray:
        """The changes (V', 3) from bytes."""
        values = SymbolReader(self._tables, data).residuals(self._scale, self._shift, None)
        return np.cumsum(values.reshape(-1, 3), axis=0)


def _along_vertices(changes: IntArray) -> IntArray:
    """(…, V', 3) differences between the changes of successive vertices."""
    return np.diff(changes, axis=-2, prepend=0)


def _static_table(training: IntArray, count: int) -> tuple[CodecTables, IntArray, IntArray]:
    """The codec's tables with one row fitted to the training residuals; that row and the low bits, `count` times."""
    tables = load()
    spread = np.array([max(round(float(np.abs(training).mean()) * _SPREAD_UNIT), 1)])
    scale, shift = tables.scale_of(spread, np.array([_SPREAD_UNIT]))
    counts = np.zeros((SCALES, SYMBOLS))
    counts[scale[0]] = np.bincount(table_symbols(training, shift[0]).ravel(), minlength=SYMBOLS)
    fitted = replace(tables, frequencies=to_frequencies(counts + tables.probabilities * _PRIOR_COUNT))
    return fitted, np.full(count, scale[0]), np.full(count, shift[0])


def _timed(
    meshes: Values, encode: Callable[[Values], bytes], decode: Callable[[bytes], Found]
) -> tuple[tuple[int, ...], Sequence[Found], float, float]:
    """Sizes, decoded meshes, and mean milliseconds to encode and decode."""
    began_s = time.perf_counter()
    packed = [encode(mesh) for mesh in meshes]
    encoded_s = time.perf_counter()
    found = [decode(data) for data in packed]
    decoded_s = time.perf_counter()
    to_ms = 1e3 / len(packed)
    return tuple(map(len, packed)), found, (encoded_s - began_s) * to_ms, (decoded_s - encoded_s) * to_ms
