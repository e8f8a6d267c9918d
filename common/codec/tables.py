"""The codec's frozen integer tables, which must be identical in encoder and decoder.

`data/tables.npz` has the tables, `data/tables.json` their digest and origin; `python -m
common.training.fit_codec` writes both.  The digest seeds the check of every packet, so two ends with different tables
refuse each other's packets.
"""

import bisect
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from common.arrays import Float64Array, IntArray
from common.codec.quantiser import FRACTION_BITS
from common.errors import WeightsError

TABLE_VERSION: Final = 3
SCALES: Final = 64
ALPHABET: Final = 24  # residuals −24…24 have their own symbols
ESCAPE: Final = 2 * ALPHABET + 1
SYMBOLS: Final = ESCAPE + 1
TOTAL_BITS: Final = 16

_RATIO_BITS: Final = 12
_MAX_RATIO_BITS: Final = _RATIO_BITS + 2
DATA_FOLDER: Final = Path(__file__).parent / "data"


@dataclass(frozen=True)
class CodecTables:
    """Frequency tables and quantiser steps.

    Args:
        frequencies: (SCALES, SYMBOLS) symbol frequencies, each row summing to 2¹⁶; row i is for residuals whose mean
            magnitude is 2^(−6 + i/8) quantiser steps.
        thresholds: (SCALES − 1,) bounds between the rows, in 2⁻¹² steps.
        base_step: (LABEL_SIZE,) quantiser step at ρ = 0, in 2⁻¹⁶ σ.
        key_spread: (LABEL_SIZE,) mean magnitude of an entry itself, in 2⁻¹⁶ σ.
        first_spread: (LABEL_SIZE,) mean magnitude of an entry's first predicted residual, in 2⁻¹⁶ σ.
    """

    frequencies: IntArray
    thresholds: IntArray
    base_step: IntArray
    key_spread: IntArray
    first_spread: IntArray

    @cached_property
    def probabilities(self) -> Float64Array:
        """`frequencies` as exact dyadic numbers, (SCALES, SYMBOLS)."""
        return np.ascontiguousarray(self.frequencies / float(1 << TOTAL_BITS))

    @cached_property
    def cost_bits(self) -> Float64Array:
        """−log₂ p, (SCALES, SYMBOLS)."""
        return -np.log2(self.probabilities)

    @cached_property
    def mean_magnitude(self) -> IntArray:
        """(SCALES,) mean magnitude of the residuals of each row, 1/256 step."""
        magnitudes = np.abs(np.arange(SYMBOLS) - ALPHABET)
        mean: IntArray = (self.frequencies @ magnitudes) >> (TOTAL_BITS - 8)
        return mean

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all tables in a fixed byte order."""
        digest = hashlib.sha256(bytes([TABLE_VERSION]))
        for name, values in self.arrays().items():
            digest.update(name.encode() + values.astype("<i8").tobytes())
        return digest.digest()

    def arrays(self) -> dict[str, IntArray]:
        """The tables by name, in the order of the digest."""
        names = ("frequencies", "thresholds", "base_step", "key_spread", "first_spread")
        return {name: getattr(self, name) for name in names}

    def scale_of(self, spread: IntArray, step: IntArray) -> tuple[IntArray, IntArray]:
        """Row of `frequencies` and number of raw low bits for residuals of mean magnitude `spread`, in integers.

        Above four steps the low bits of a residual are nearly uniform: they bypass the table, which keeps it small.
        """
        ratio = (spread << _RATIO_BITS) // step
        # frexp of an integer below 2^53 is exact: its exponent is the bit length.
        length = np.frexp(ratio.astype(np.float64))[1].astype(np.int64)
        shift = np.minimum(np.maximum(length - _MAX_RATIO_BITS, 0), FRACTION_BITS)
        return np.searchsorted(self.thresholds, ratio >> shift, side="right").astype(np.int64), shift

    def scale_of_one(self, spread: int, step: int) -> tuple[int, int]:
        """`scale_of` a single residual: NumPy's search lets other threads run, and waits for them."""
        ratio = (spread << _RATIO_BITS) // step
        shift = min(max(ratio.bit_length() - _MAX_RATIO_BITS, 0), FRACTION_BITS)
        return bisect.bisect_right(self._bounds, ratio >> shift), shift

    @cached_property
    def _bounds(self) -> list[int]:
        bounds: list[int] = self.thresholds.tolist()
        return bounds


def to_frequencies(weights: Float64Array) -> IntArray:
    """Positive integers that sum to 2¹⁶ in each row, proportional to the weights."""
    total = 1 << TOTAL_BITS
    scaled = weights / weights.sum(axis=1, keepdims=True) * (total - weights.shape[1])
    frequencies = np.floor(scaled).astype(np.int64) + 1
    frequencies[np.arange(len(weights)), weights.argmax(axis=1)] += total - frequencies.sum(axis=1)
    return np.asarray(frequencies, dtype=np.int64)


def save(tables: CodecTables, folder: Path, fitted_on: str) -> None:
    """Writes the tables and their digest to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "tables.npz", allow_pickle=False, **tables.arrays())
    note = {"version": TABLE_VERSION, "sha256": tables.digest.hex(), "fitted_on": fitted_on}
    (folder / "tables.json").write_text(json.dumps(note, indent=2) + "\n")


@lru_cache(maxsize=4)
def load(folder: Path = DATA_FOLDER) -> CodecTables:
    """Loads tables, by default those in the package.

    Raises:
        WeightsError: a file is missing, damaged, of another version, or does not match its digest.
    """
    try:
        note = json.loads((folder / "tables.json").read_text())
        with np.load(io.BytesIO((folder / "tables.npz").read_bytes()), allow_pickle=False) as data:
            tables = CodecTables(**{name: data[name].astype(np.int64) for name in data.files})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"the codec tables in {folder} are missing or damaged; reinstall bodywire") from error
    if note.get("version") != TABLE_VERSION or note.get("sha256") != tables.digest.hex():
        raise WeightsError(f"the codec tables in {folder} are of another version; reinstall bodywire")
    return tables
