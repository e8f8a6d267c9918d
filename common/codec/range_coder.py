"""Entropy coding of symbols: `constriction`'s range coder with the frozen integer frequency tables.

Bit exactness: `Categorical(perfect=False)` converts probabilities to 24-bit integers by
⌊(cumulative sum) · (2²⁴ − n)⌋ + index.  Our probabilities are multiples of 2⁻¹⁶ in float64, so every sum and product
is exact on every platform.  A test reads the resulting integers back from the coder's state.

constriction pads a stream to whole 32-bit words; `SymbolWriter.finish` instead takes the shortest byte string inside
the coder's final interval, which costs about half a byte per stream.
"""

import math
from functools import lru_cache
from typing import Final, Protocol

import constriction
import numpy as np

from common.arrays import IntArray, Uint32Array
from common.codec.tables import ALPHABET, ESCAPE, CodecTables
from common.errors import MalformedPacket

_MODEL = constriction.stream.model
_QUEUE = constriction.stream.queue
_FAMILY = _MODEL.Categorical(perfect=False)
_RARE: Final = (15, 1)
_UNIFORM: Final = {1 << bits: _MODEL.Uniform(1 << bits) for bits in range(1, 17)}


@lru_cache(maxsize=16)
def _choice_model(weights: tuple[int, ...]) -> tuple[object, tuple[float, ...]]:
    """The model of a choice, and the bits of each outcome."""
    probabilities = np.array(weights) / 16.0
    return _MODEL.Categorical(probabilities, perfect=False), tuple((-np.log2(probabilities)).tolist())


_GOLOMB_ORDER: Final = 2
_GOLOMB_MAX_PREFIX: Final = 24

# An honest stream is up to 16 bits longer than its symbols' information, and hardly shorter (`SymbolWriter.finish`).
_LENGTH_TOLERANCE_BITS: Final = 64


def table_symbols(values: IntArray, shift: IntArray) -> IntArray:
    """The symbol 0…ESCAPE of each residual in the frequency tables; `ESCAPE` precedes an Exp-Golomb code."""
    high = _high_part(values, shift)
    return np.where(np.abs(high) > ALPHABET, ESCAPE, high + ALPHABET)


def _has_bypass(symbols: list[int], shift: list[int]) -> bool:
    """Whether escape codes or low bits follow; lists are faster than numpy on the few entries of a group."""
    return ESCAPE in symbols or any(shift)


def _high_part(values: IntArray, shift: IntArray) -> IntArray:
    return (values + ((1 << shift) >> 1)) >> shift


class SymbolCoder(Protocol):
    """Common interface of encoder and decoder, so that one function defines a packet's layout for both.

    The writer encodes its argument, the reader ignores it; both return the value.
    """

    bits: float

    def rare_flag(self, value: bool | None) -> bool:
        """A flag with probability 1/16."""
        ...

    def choice(self, value: int | None, weights: tuple[int, ...]) -> int:
        """One of the outcomes 0…, with probabilities `weights` in sixteenths."""
        ...

    def uniform(self, value: int | None, size: int) -> int:
        """A uniformly distributed number 0…size−1; `size` is a power of two."""
        ...

    def number(self, value: int | None) -> int:
        """A number of at least 0, as an Exp-Golomb code of order 2: three bits below 4."""
        ...

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        """Quantised residuals, one per scale index; the `shift` low bits of each bypass the frequency table."""
        ...


class SymbolWriter:
    """Encoder; `bits` is the sum of −log₂ p over the symbols written so far."""

    def __init__(self, tables: CodecTables) -> None:
        self._tables = tables
        self._coder = _QUEUE.RangeEncoder()
        self.bits = 0.0

    def rare_flag(self, value: bool | None) -> bool:
        assert value is not None
        return bool(self.choice(int(value), _RARE))

    def choice(self, value: int | None, weights: tuple[int, ...]) -> int:
        assert value is not None
        model, bits = _choice_model(weights)
        self._coder.encode(value, model)
        self.bits += bits[value]
        return value

    def uniform(self, value: int | None, size: int) -> int:
        assert value is not None and 0 <= value < size
        self._coder.encode(value, _UNIFORM[size])
        self.bits += size.bit_length() - 1
        return value

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        assert values is not None
        if values.size:
            symbols = table_symbols(values, shift)
            self._coder.encode(symbols.astype(np.int32), _FAMILY, self._tables.probabilities[scale])
            self.bits += float(self._tables.cost_bits[scale, symbols].sum())
            if _has_bypass(symbols.tolist(), shift.tolist()):
                self._write_bypass(values, shift)
        return values

    def _write_bypass(self, values: IntArray, shift: IntArray) -> None:
        """Escape codes and low bits."""
        for value, h, s in zip(values.tolist(), _high_part(values, shift).tolist(), shift.tolist(), strict=True):
            if abs(h) > ALPHABET:
                self.uniform(int(h < 0), 2)
                self.number(abs(h) - ALPHABET - 1)
            if s:
                self.uniform(value + (1 << s >> 1) - (h << s), 1 << s)

    def number(self, value: int | None) -> int:
        assert value is not None and value >= 0
        coded = value + (1 << _GOLOMB_ORDER)
        extra = coded.bit_length() - 1
        for _ in range(extra - _GOLOMB_ORDER):
            self.uniform(1, 2)
        self.uniform(0, 2)
        for bit in reversed(range(extra)):
            self.uniform(coded >> bit & 1, 2)
        return value

    def finish(self) -> bytes:
        """The shortest byte string that decodes to the symbols written; the reader pads it with zeros.

        Symbols whose code ends in many zeros, such as those of equal entries far from their prediction, would need
        none of them: as many are written as keep the reader from taking the stream for cut off.
        """
        least_bytes = math.ceil((self.bits - _LENGTH_TOLERANCE_BITS) / 8)
        return shortest_stream(self._coder).ljust(least_bytes, b"\0")


def shortest_stream(coder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The shortest byte string that decodes to the symbols of a range encoder, if the reader pads it with zeros."""
    words = coder.get_compressed()
    if not len(words):
        return b""
    position, (lower, span) = coder.pos()
    width = 32 * position + 64
    sealed = int.from_bytes(words.astype(">u4").tobytes(), "big") << (width - 32 * len(words))
    lowest = sealed - (sealed - lower) % (1 << 64)
    for length in range(width // 8 + 1):
        rest = width - 8 * length
        candidate = -(-lowest >> rest)
        if candidate << rest < lowest + span:
            return int(candidate).to_bytes(length, "big")
    raise AssertionError("the final interval of a range coder is never empty")


def padded_words(data: bytes) -> Uint32Array:
    """The words of a byte string that `shortest_stream` made, with zeros behind them, for a range decoder."""
    return np.frombuffer(data + bytes(8 + -len(data) % 4), dtype=">u4").astype(np.uint32)


class SymbolReader:
    """Decoder of `SymbolWriter`'s bytes; after their end it reads zeros.

    Raises:
        MalformedPacket: from any method, if the bytes are not a valid stream.
    """

    def __init__(self, tables: CodecTables, data: bytes) -> None:
        self._tables = tables
        self._stream_bits = 8 * len(data)
        self._coder = _QUEUE.RangeDecoder(padded_words(data))
        self.bits = 0.0

    def rare_flag(self, value: bool | None) -> bool:
        return bool(self.choice(None, _RARE))

    def choice(self, value: int | None, weights: tuple[int, ...]) -> int:
        model, bits = _choice_model(weights)
        decoded = self._decode(model)
        self.bits += bits[decoded]
        return decoded

    def uniform(self, value: int | None, size: int) -> int:
        self.bits += size.bit_length() - 1
        return self._decode(_UNIFORM[size])

    def number(self, value: int | None) -> int:
        extra = _GOLOMB_ORDER
        while self.uniform(None, 2):
            extra += 1
            if extra > _GOLOMB_MAX_PREFIX:
                raise MalformedPacket("the packet has an escape code that is too long")
        coded = 1
        for bit in self._bits(extra):
            coded = coded << 1 | bit
        return coded - (1 << _GOLOMB_ORDER)

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        if not scale.size:
            return np.zeros(0, dtype=np.int64)
        try:
            symbols = self._coder.decode(_FAMILY, self._tables.probabilities[scale]).astype(np.int64)
        except (ValueError, AssertionError) as error:
            raise MalformedPacket("the packet has an invalid range-coded stream") from error
        self.bits += float(self._tables.cost_bits[scale, symbols].sum())
        # Before escape codes are read one by one, which takes a while if a hostile stream has nothing else.
        if self.bits > self._stream_bits + _LENGTH_TOLERANCE_BITS:
            self.check_length()
        return self._read_bypass(symbols, shift)

    def check_length(self) -> None:
        """Refuses a stream that is longer or shorter than the symbols that were read from it."""
        if abs(self._stream_bits - self.bits) > _LENGTH_TOLERANCE_BITS:
            raise MalformedPacket(f"the stream has {self._stream_bits} bits for {self.bits:.0f}")

    def _decode(self, model: object) -> int:
        try:
            return int(self._coder.decode(model))
        except (ValueError, AssertionError) as error:
            raise MalformedPacket("the packet has an invalid range-coded stream") from error

    def _read_bypass(self, symbols: IntArray, shift: IntArray) -> IntArray:
        """Residuals from table symbols, escape codes and low bits."""
        values = symbols - ALPHABET
        symbol_list, shift_list = symbols.tolist(), shift.tolist()
        if not _has_bypass(symbol_list, shift_list):
            return values
        for index, (symbol, s) in enumerate(zip(symbol_list, shift_list, strict=True)):
            if symbol != ESCAPE and not s:
                continue
            h = symbol - ALPHABET
            if symbol == ESCAPE:
                negative = self.uniform(None, 2)
                h = self.number(None) + ALPHABET + 1
                h = -h if negative else h
            low = self.uniform(None, 1 << s) - (1 << s >> 1) if s else 0
            values[index] = (h << s) + low
        return values

    def _bits(self, count: int) -> list[int]:
        """So many uniformly distributed bits; one call is much faster than one for each."""
        self.bits += count
        try:
            bits: list[int] = self._coder.decode(_UNIFORM[2], count).tolist()
        except (ValueError, AssertionError) as error:
            raise MalformedPacket("the packet has an invalid range-coded stream") from error
        return bits
