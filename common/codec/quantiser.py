"""Mid-tread quantiser of label entries in fixed-point arithmetic: identical integers on both ends.

Entries are standardised, so one unit is one standard deviation σ over the training poses.  Inside the codec a value is
an integer count of 2⁻¹⁶ σ.  On the wire ρ of equation (17) is one of 16 levels; a level sets a group's step, growing
by a third of an octave a level (ρ = 1 is 32 times as coarse as ρ = 0), and the length of its prefix.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.labels import GROUPS, LabelGroup, concatenate

FRACTION_BITS: Final = 16
UNIT: Final = 1 << FRACTION_BITS
LIMIT: Final = 32 * UNIT
LEVELS: Final = 16

# 256 · 2^(level/3), rounded once and frozen.
STEP_MULTIPLIER: Final = (256, 323, 406, 512, 645, 813, 1024, 1290, 1625, 2048, 2580, 3251, 4096, 5161, 6502, 8192)
_STEP_MULTIPLIER: Final = np.array(STEP_MULTIPLIER, dtype=np.int64)

# Up to this level only the step grows: cutting entries costs far more surface than rounding them.
LAST_WHOLE_LEVEL: Final = 6

GROUP_OF_ENTRY: Final[IntArray] = np.repeat(np.arange(len(GROUPS)), [group.size for group in GROUPS])
PLACE_IN_GROUP: Final[IntArray] = np.concatenate([np.arange(group.size) for group in GROUPS])


def rho_level(rho: float) -> int:
    """The level 0…15 that stands for ρ on the wire.

    Raises:
        ValueError: ρ is not a number in 0…1.
    """
    if not 0.0 <= rho <= 1.0:
        raise ValueError(f"rho must lie in 0…1, got {rho}")
    return round(rho * (LEVELS - 1))


def prefix_length(group: LabelGroup, level: int) -> int:
    """How many leading entries of a group are sent at a level: all up to level 6, then linearly down to a third.

    The root always goes whole: a person without position or orientation stands nowhere.
    """
    if group.name == "root" or level <= LAST_WHOLE_LEVEL:
        return group.size
    return group.size - group.size * (level - LAST_WHOLE_LEVEL) * 2 // (3 * (LEVELS - 1 - LAST_WHOLE_LEVEL))


_PREFIX: Final = np.array([[prefix_length(group, level) for level in range(LEVELS)] for group in GROUPS])


def prefix_mask(levels: IntArray, sent: BoolArray) -> BoolArray:
    """Which of the LABEL_SIZE entries are coded, for levels and sent flags of shape (groups,)."""
    length = np.where(sent, _PREFIX[np.arange(len(GROUPS)), levels], 0)
    mask: BoolArray = length[GROUP_OF_ENTRY] > PLACE_IN_GROUP
    return mask


def steps(base_step: IntArray, levels: IntArray) -> IntArray:
    """Quantiser step of each of the LABEL_SIZE entries, in 2⁻¹⁶ σ; `base_step` is that at ρ = 0."""
    step: IntArray = np.maximum((base_step * _STEP_MULTIPLIER[levels][GROUP_OF_ENTRY]) >> 8, 1)
    return step


def quantise(residual: IntArray, step: IntArray) -> IntArray:
    """Index of the nearest multiple of `step`; halves round up."""
    return (2 * residual + step) // (2 * step)


def to_fixed(values: FloatArray) -> IntArray:
    """Entries in σ as integers of 2⁻¹⁶ σ, clipped to ±32 σ.

    Raises:
        ValueError: an entry is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("labels must be finite")
    fixed: IntArray = np.clip(np.rint(values.astype(np.float64) * UNIT), -LIMIT, LIMIT).astype(np.int64)
    return fixed


def from_fixed(fixed: IntArray) -> FloatArray:
    """The inverse of `to_fixed`, float32."""
    return (fixed.astype(np.float64) / UNIT).astype(np.float32)


def vector_of(labels: Mapping[str, FloatArray]) -> tuple[IntArray, IntArray]:
    """Labels as a fixed-point vector (LABEL_SIZE,) and the length that each group has (groups,); absent is zero.

    Raises:
        ValueError: a name is not in the vocabulary, a vector is longer than its group, or an entry is not finite.
    """
    fixed = to_fixed(concatenate(labels))
    lengths = np.array([len(labels.get(group.name, ())) for group in GROUPS], dtype=np.int64)
    return fixed, lengths
