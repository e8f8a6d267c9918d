"""Codes for body parameters as integers: plain, delta + zstandard, and predicted + range coder with static tables.

A coder is one end of a stream and decodes what another one encoded; `encode` and `decode` are called frame by frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np
import torch
import zstandard

from common.arrays import Float64Array, IntArray
from common.body.label_space import LabelSpace
from common.codec.range_coder import SymbolCoder, SymbolReader, SymbolWriter, table_symbols
from common.codec.tables import SCALES, SYMBOLS, CodecTables, load, to_frequencies
from common.training.label_sequences import label_sequences
from tests.bench.rivals.parameters import (
    FAST_SIZE,
    SLOW_SIZES,
    Numbers,
    fast_steps,
    fast_vectors,
    slow_step,
    unwrapped,
)

# Mean magnitude of a slow number when it is sent first, and of its change when it is sent again, in σ.
_FIRST_SIGMA, _RESENT_SIGMA = 0.8, 0.1
# Symbols that a table's parametric prior counts for.
_PRIOR_COUNT: Final = 300.0
_SPREAD_UNIT: Final = 1 << 16
_LEAST_CHANGE: Final = -(1 << 15)
_ZSTD_LEVEL: Final = 19
_ZSTD_WINDOW_LOG: Final = 17
# The split and seed that the codec's own tables are fitted to.
_FITTED_SPLIT: Final = "train"
_FITTED_SEED: Final = 3


class Coder(Protocol):
    """One end of a stream of frames."""

    def encode(self, frame: Numbers) -> bytes: ...

    def decode(self, data: bytes) -> Numbers: ...


def _mask(frame: Numbers) -> int:
    return sum(1 << index for index, name in enumerate(SLOW_SIZES) if name in frame.slow)


def _sizes(mask: int) -> dict[str, int]:
    """The slow groups of a frame and their sizes."""
    return {name: size for index, (name, size) in enumerate(SLOW_SIZES.items()) if mask >> index & 1}


def _joined(frame: Numbers) -> IntArray:
    return np.concatenate([frame.fast, *(frame.slow[name] for name in SLOW_SIZES if name in frame.slow)])


def _parted(values: IntArray, mask: int) -> Numbers:
    slow, start = {}, FAST_SIZE
    for name, size in _sizes(mask).items():
        slow[name] = values[start : start + size]
        start += size
    return Numbers(values[:FAST_SIZE], slow)


class PlainCoder:
    """Each number in a fixed number of bits, after one byte that names the slow groups; larger ones are clipped."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def encode(self, frame: Numbers) -> bytes:
        half = 1 << (self._bits - 1)
        values = np.clip(_joined(frame), -half, half - 1) + half
        rows = values[:, None] >> np.arange(self._bits - 1, -1, -1) & 1
        return bytes([_mask(frame)]) + np.packbits(rows.astype(np.uint8)).tobytes()

    def decode(self, data: bytes) -> Numbers:
        count = FAST_SIZE + sum(_sizes(data[0]).values())
        rows = np.unpackbits(np.frombuffer(data[1:], np.uint8), count=count * self._bits).reshape(count, self._bits)
        values = rows.astype(np.int64) @ (1 << np.arange(self._bits - 1, -1, -1))
        return _parted(values - (1 << (self._bits - 1)), data[0])


class _Previous:
    """The numbers that changes are relative to."""

    def __init__(self) -> None:
        self._values = {"": np.zeros(FAST_SIZE, np.int64)}
        self._values |= {name: np.zeros(size, np.int64) for name, size in SLOW_SIZES.items()}

    def numbers(self, mask: int) -> IntArray:
        """The previous numbers of a frame's groups."""
        return np.concatenate([self._values[name] for name in ("", *_sizes(mask))])

    def keep(self, frame: Numbers) -> None:
        """A frame that later ones are relative to."""
        self._values |= {"": frame.fast, **frame.slow}


class ZstdCoder:
    """Changes as 16-bit numbers, low bytes before high ones, in one zstandard stream that is flushed at each frame."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _ZSTD_LEVEL, window_log=_ZSTD_WINDOW_LOG, write_content_size=False, write_checksum=False
        )
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._decompressor = zstandard.ZstdDecompressor().decompressobj()
        self._previous = _Previous()

    def encode(self, frame: Numbers) -> bytes:
        mask = _mask(frame)
        previous = self._previous.numbers(mask)
        # What a larger change leaves is coded with the next frame.
        change = np.clip(_joined(frame) - previous, _LEAST_CHANGE, -_LEAST_CHANGE - 1).astype("<i2")
        self._previous.keep(_parted(previous + change, mask))
        planes = change.view(np.uint8).reshape(-1, 2).T.tobytes()
        packed: bytes = self._compressor.compress(bytes([mask]) + planes)
        return packed + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def decode(self, data: bytes) -> Numbers:
        planes: bytes = self._decompressor.decompress(data)
        mask = planes[0]
        change = np.ascontiguousarray(np.frombuffer(planes[1:], np.uint8).reshape(2, -1).T).view("<i2").ravel()
        frame = _parted(self._previous.numbers(mask) + change, mask)
        self._previous.keep(frame)
        return frame


@dataclass(frozen=True, eq=False)
class StaticTables:
    """Predictor and tables of `RangeCoder`, fitted to the training sequences; neither adapts.

    Args:
        taps: (2, FAST_SIZE) weights of the last frame and the one before it.
        tables: the codec's, with frequencies of these residuals.
        scale, shift: (FAST_SIZE,) row and low bits of each number, as in `CodecTables.scale_of`.
    """

    taps: Float64Array
    tables: CodecTables
    scale: IntArray
    shift: IntArray
    bits: int

    @classmethod
    def fit(cls, clips: Sequence[Float64Array], bits: int, order: int) -> Self:
        """Tables for `unwrapped` clips (T, FAST_SIZE): changes (order 1), or linear prediction of order 2."""
        taps = np.stack([np.ones(FAST_SIZE), np.zeros(FAST_SIZE)])
        if order == 2:
            taps = least_squares_taps(clips)
        steps = [np.rint(clip / fast_steps(bits)).astype(np.int64) for clip in clips]
        residuals = np.concatenate([clip[2:] - predicted(taps, clip[1:-1], clip[:-2]) for clip in steps])
        tables = load()
        spread = np.maximum(np.rint(np.abs(residuals).mean(0) * _SPREAD_UNIT), 1).astype(np.int64)
        scale, shift = tables.scale_of(spread, np.full(FAST_SIZE, _SPREAD_UNIT))
        counts = np.zeros((SCALES, SYMBOLS))
        np.add.at(counts, (np.broadcast_to(scale, residuals.shape), table_symbols(residuals, shift)), 1.0)
        counts[:, :-1] = (counts[:, :-1] + counts[:, -2::-1]) / 2
        fitted = replace(tables, frequencies=to_frequencies(counts + tables.probabilities * _PRIOR_COUNT))
        return cls(taps, fitted, scale, shift, bits)

    def slow_scale(self, sigma: float, size: int) -> tuple[IntArray, IntArray]:
        """Row and low bits of slow numbers of this mean magnitude."""
        spread = max(round(sigma / slow_step(self.bits) * _SPREAD_UNIT), 1)
        return self.tables.scale_of(np.full(size, spread), np.full(size, _SPREAD_UNIT))


def least_squares_taps(clips: Sequence[Float64Array]) -> Float64Array:
    """(2, D) weights that predict each number of clips (T, D) best from the two frames before."""
    now, last, before = (np.concatenate([clip[2 - lag : len(clip) - lag] for clip in clips]) for lag in (0, 1, 2))
    weights = [
        np.linalg.lstsq(np.stack([last[:, entry], before[:, entry]], 1), now[:, entry], rcond=None)[0]
        for entry in range(now.shape[1])
    ]
    return np.stack(weights, 1)


def predicted(taps: Float64Array, last: IntArray, before: IntArray) -> IntArray:
    """The prediction from the last frame and the one before it, in whole steps."""
    return np.asarray(np.rint(taps[0] * last + taps[1] * before), np.int64)


def training_clips() -> list[Float64Array]:
    """`unwrapped` parameters of the sequences that the codec's own tables are fitted to."""
    space = LabelSpace.load()
    labels, clip = label_sequences(_FITTED_SPLIT, _FITTED_SEED)
    parts = np.split(labels, np.flatnonzero(np.diff(clip)) + 1)
    return [unwrapped(fast_vectors(space.decode(torch.from_numpy(part)))) for part in parts if len(part) > 2]


class RangeCoder:
    """Residuals of a linear prediction, range coded with `StaticTables`; slow numbers as changes."""

    def __init__(self, tables: StaticTables) -> None:
        self._static = tables
        self._last = self._before = np.zeros(FAST_SIZE, np.int64)
        self._frames = 0
        self._slow: dict[str, IntArray] = {}

    def encode(self, frame: Numbers) -> bytes:
        writer = SymbolWriter(self._static.tables)
        self._pass(writer, frame)
        return writer.finish()

    def decode(self, data: bytes) -> Numbers:
        return self._pass(SymbolReader(self._static.tables, data), None)

    def _pass(self, coder: SymbolCoder, frame: Numbers | None) -> Numbers:
        """One layout for both directions; the decoder's frame is None."""
        static = self._static
        expected = predicted(static.taps, self._last, self._before) if self._frames > 1 else self._last
        values = frame.fast - expected if frame is not None else None
        fast = coder.residuals(static.scale, static.shift, values) + expected
        slow = {}
        for name, size in SLOW_SIZES.items():
            if coder.rare_flag(name in frame.slow if frame is not None else None):
                slow[name] = self._pass_slow(coder, name, size, frame.slow[name] if frame is not None else None)
        self._last, self._before = fast, self._last
        self._frames += 1
        self._slow |= slow
        return Numbers(fast, slow)

    def _pass_slow(self, coder: SymbolCoder, name: str, size: int, values: IntArray | None) -> IntArray:
        expected = self._slow.get(name)
        sigma = _FIRST_SIGMA if expected is None else _RESENT_SIGMA
        previous = np.zeros(size, np.int64) if expected is None else expected
        change = values - previous if values is not None else None
        return coder.residuals(*self._static.slow_scale(sigma, size), change) + previous
