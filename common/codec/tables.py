"""The codec's frozen integer tables, its quantisers, and which levels spend a budget of bits best.

`data/tables.npz` has the tables, `data/tables.json` their digest and origin; `python -m
common.training.fit_codec` writes both.  The digest seeds the check of every packet, so two ends with different tables
refuse each other's packets.

Mid-tread quantiser of label entries in fixed-point arithmetic, so that both ends compute identical integers.

Entries are standardised: one unit is one standard deviation σ over the training poses.  The codec's values are integers
in 2⁻¹⁶ σ.  ρ of equation (17) is transmitted as one of 16 levels.  A level sets a group's quantiser step, which grows
by a third of an octave per level: ρ = 1 is 32 times as coarse as ρ = 0.  Where the step is coarse, the fine entries at
the end of a group keep their prediction: nothing is left of them but the shorter prefix of the equation.

Allocates the bits of a frame to the label groups: a Lagrangian over measured rate–distortion tables.

`data/rate_distortion.json` has the mean bits and the mean error in millimetres of each group at each ρ level, measured
by `python -m common.training.fit_codec` on its sequences.  For a budget B, the levels l minimise
Σ (w D(l))² + λ R(l) with the smallest λ for which Σ R(l) ≤ B; w weighs the groups.  Optional groups, which few people
have, come on top of B, at the same λ.
"""

import bisect
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Self

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.errors import WeightsError
from common.labels import GROUP_NAMES, GROUPS, OPTIONAL_GROUPS, concatenate

FRACTION_BITS: Final = 16
UNIT: Final = 1 << FRACTION_BITS
LIMIT: Final = 32 * UNIT
LEVELS: Final = 16

# 256 · 2^(level/3), rounded once and frozen.
STEP_MULTIPLIER: Final = (256, 323, 406, 512, 645, 813, 1024, 1290, 1625, 2048, 2580, 3251, 4096, 5161, 6502, 8192)
_STEP_MULTIPLIER: Final = np.array(STEP_MULTIPLIER, dtype=np.int64)

GROUP_OF_ENTRY: Final[IntArray] = np.repeat(np.arange(len(GROUPS)), [group.size for group in GROUPS])


def rho_level(rho: float) -> int:
    """The level 0…15 that is transmitted for ρ. Raises ValueError if ρ is not a number in 0…1."""
    if not 0.0 <= rho <= 1.0:
        raise ValueError(f"rho must lie in 0…1, got {rho}")
    return round(rho * (LEVELS - 1))


def rho_levels(rho: Mapping[str, float]) -> IntArray:
    """(groups,) the level of each group, for group name → ρ; 0 for groups without one.

    Raises:
        ValueError: a group is not in the vocabulary, or a ρ is not in 0…1.
    """
    unknown = set(rho) - set(GROUP_NAMES)
    if unknown:
        raise ValueError(f"rho has unknown label groups: {', '.join(sorted(unknown))}")
    return np.array([rho_level(rho.get(name, 0.0)) for name in GROUP_NAMES], dtype=np.int64)


def steps(base_step: IntArray, levels: IntArray) -> IntArray:
    """Quantiser steps in 2⁻¹⁶ σ, (..., LABEL_SIZE) for levels (..., groups); `base_step` are those at ρ = 0."""
    step: IntArray = np.maximum((base_step * _STEP_MULTIPLIER[levels][..., GROUP_OF_ENTRY]) >> 8, 1)
    return step


def quantise(residual: IntArray, step: IntArray) -> IntArray:
    """Index of the nearest multiple of `step`; ties round up."""
    return (2 * residual + step) // (2 * step)


def to_fixed(values: FloatArray) -> IntArray:
    """Converts entries in σ to integers in 2⁻¹⁶ σ, clipped to ±32 σ. Raises ValueError if an entry is not finite."""
    if not np.isfinite(values).all():
        raise ValueError("labels must be finite")
    fixed: IntArray = np.clip(np.rint(values.astype(np.float64) * UNIT), -LIMIT, LIMIT).astype(np.int64)
    return fixed


def from_fixed(fixed: IntArray) -> FloatArray:
    """The inverse of `to_fixed`, float32."""
    return (fixed.astype(np.float64) / UNIT).astype(np.float32)


def vector_of(labels: Mapping[str, FloatArray]) -> tuple[IntArray, BoolArray]:
    """Labels as a fixed-point vector (LABEL_SIZE,), zero where absent, and which groups (groups,) there are.

    Raises:
        ValueError: a name is not in the vocabulary, a vector is longer than its group, or an entry is not finite.
    """
    fixed = to_fixed(concatenate(labels))
    return fixed, np.array([len(labels.get(group.name, ())) > 0 for group in GROUPS], dtype=np.bool_)


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


RATE_DISTORTION_FILE: Final = DATA_FOLDER / "rate_distortion.json"

# Multipliers λ that are tried, mm² a bit: a quarter of an octave apart.
_MULTIPLIERS: Final[Float64Array] = 2.0 ** (np.arange(-40, 60) / 4)
_LEVEL: Final = np.arange(LEVELS)
_COUNTED: Final = ~np.isin(GROUP_NAMES, OPTIONAL_GROUPS)

# Quantisation may add this share of a group's uncertainty; the total error grows by a fifth of a per cent.
_UNCERTAINTY_SHARE: Final = 1 / 16
# Uncertainty coarsens a group up to this level: estimates of uncertainty may be wrong.
_MAX_UNCERTAIN_LEVEL: Final = 3


@dataclass(frozen=True)
class RateDistortion:
    """The measured table; G groups.

    Args:
        bits: (G, LEVELS) mean bits of a group in a frame at each level.
        mm: (G, LEVELS) mean displacement by a group's quantisation.
    """

    bits: Float64Array
    mm: Float64Array

    @classmethod
    def load(cls, path: Path = RATE_DISTORTION_FILE) -> Self:
        """Loads the package's table. Raises WeightsError if it is missing or damaged."""
        try:
            data = json.loads(path.read_text())
            bits, mm = (np.array([data[key][name] for name in GROUP_NAMES], dtype=np.float64) for key in ("bits", "mm"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is missing or damaged; reinstall bodywire") from error
        if bits.shape != (len(GROUP_NAMES), LEVELS) or mm.shape != bits.shape:
            raise WeightsError(f"{path} is of another version; reinstall bodywire")
        return cls(bits, mm)

    @property
    def bounds_bits(self) -> tuple[float, float]:
        """Bits of a frame without optional groups, at the coarsest and at the finest level."""
        return float(self.bits[_COUNTED, -1].sum()), float(self.bits[_COUNTED, 0].sum())

    def finest(self, uncertainty_mm: Mapping[str, float]) -> IntArray:
        """(G,) the finest level that is worth its bits, for the uncertainty of each group's labels.

        A group whose labels are known to ±50 mm needs no steps of a quarter millimetre; 0 for groups without one.
        """
        allowed = np.array([_UNCERTAINTY_SHARE * uncertainty_mm.get(name, 0.0) for name in GROUP_NAMES])
        coarse_enough = (self.mm <= allowed[:, None]).sum(axis=1) - 1
        finest: IntArray = np.clip(coarse_enough, 0, _MAX_UNCERTAIN_LEVEL)
        return finest

    def allocate(self, budget_bits: float, weights: Mapping[str, float], finest: IntArray) -> dict[str, float]:
        """ρ by group: the levels of least weighted error whose mean bits meet a budget, or the coarsest ones.

        Args:
            budget_bits: of all groups together but the optional ones.
            weights: by group; 1 where there is none.
            finest: (G,) no group is finer than this.
        """
        weight = np.array([weights.get(name, 1.0) for name in GROUP_NAMES])
        error = np.where(finest[:, None] <= _LEVEL, (weight[:, None] * self.mm) ** 2, np.inf)
        levels = (error + _MULTIPLIERS[:, None, None] * self.bits).argmin(axis=2)
        bits = np.take_along_axis(self.bits[None], levels[:, :, None], axis=2)[..., 0] @ _COUNTED
        fits = np.flatnonzero(bits <= budget_bits)
        chosen = levels[fits[0]] if len(fits) else np.full(len(GROUP_NAMES), LEVELS - 1)
        return {name: int(level) / (LEVELS - 1) for name, level in zip(GROUP_NAMES, chosen, strict=True)}


@lru_cache(maxsize=1)
def load_allocation() -> RateDistortion:
    """The package's table. Raises WeightsError if it is missing or damaged."""
    return RateDistortion.load()
