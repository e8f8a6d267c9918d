"""Mid-tread quantiser of label entries in fixed-point arithmetic, so that both ends compute identical integers.

Entries are standardised: one unit is one standard deviation σ over the training poses.  The codec's values are integers
in 2⁻¹⁶ σ.  ρ of equation (17) is transmitted as one of 16 levels.  A level sets a group's quantiser step, which grows
by a third of an octave per level: ρ = 1 is 32 times as coarse as ρ = 0.  Where the step is coarse, the fine entries at
the end of a group keep their prediction: nothing is left of them but the shorter prefix of the equation.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.labels import GROUP_NAMES, GROUPS, concatenate

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
