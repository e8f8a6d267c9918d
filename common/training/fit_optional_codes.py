"""The codec's steps, spreads, rate and distortion of the optional groups: faces, eyes and fingers.

They follow from the statistics of the expression space; no sequence is coded.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from common.arrays import Float64Array, IntArray
from common.body.faces import load_expression_tensors
from common.codec.tables import UNIT, CodecTables, steps
from common.labels import GROUP_NAMES, GROUPS, OPTIONAL_GROUPS, group_slices

# Displacement of the skin that an optional group moves, by the quantisation of an entry at ρ = 0, mm.  Lids and gaze
# have their own step, in σ.
_STEP_MM: Final = {"face": 0.2, "left_fingers": 1.0, "right_fingers": 1.0}
_EYES_STEP_SIGMA: Final = 0.15
_MOST_STEP_SIGMA: Final = 0.5


def with_optional(tables: CodecTables) -> CodecTables:
    """Tables with the steps and spreads of the optional groups, which come last."""
    sizes, changes, mm = optional_statistics()
    step = np.full(len(mm), _EYES_STEP_SIGMA)
    for name, where in _optional_slices().items():
        if name in _STEP_MM:
            step[where] = np.minimum(_STEP_MM[name] / mm[where], _MOST_STEP_SIGMA)
    chosen = {
        "base_step": np.rint(step * UNIT).astype(np.int64),
        "key_spread": bounded(sizes * UNIT),
        "first_spread": bounded(changes * UNIT),
    }
    columns = {name: getattr(tables, name).copy() for name in chosen}
    for name, values in chosen.items():
        columns[name][-len(mm) :] = values
    return replace(tables, **columns)


def optional_statistics() -> tuple[Float64Array, ...]:
    """Mean magnitudes of the entries (32,) and of their changes, σ, and millimetres per σ."""
    return tuple(row.double().numpy() for row in load_expression_tensors()["statistics"])


def _optional_slices() -> dict[str, slice]:
    """Of the entries of each optional group among those of all."""
    slices = {name: group_slices()[name] for name in OPTIONAL_GROUPS}
    first = min(where.start for where in slices.values())
    return {name: slice(where.start - first, where.stop - first) for name, where in slices.items()}


def optional_figures(tables: CodecTables, measured: tuple[int, ...]) -> dict[int, tuple[Float64Array, Float64Array]]:
    """Index of each optional group → bits and millimetres at the measured levels, of entries that change at random."""
    sizes, _, mm = optional_statistics()
    levels = np.repeat(np.array(measured)[:, None], len(GROUPS), axis=1)
    step = steps(tables.base_step, levels)[:, -len(mm) :]
    rows, low = tables.scale_of(tables.first_spread[-len(mm) :], step)
    entropy = (tables.probabilities * tables.cost_bits).sum(axis=1)
    entries = entropy[rows] + low
    # What never leaves a step is not sent.
    off = np.minimum(step / UNIT / math.sqrt(12), sizes) * mm
    return {
        GROUP_NAMES.index(name): (entries[:, where].sum(axis=1), np.sqrt(np.square(off[:, where]).sum(axis=1)))
        for name, where in _optional_slices().items()
    }


def bounded(spread: Float64Array) -> IntArray:
    """Mean magnitudes (E,) as integers, none too small or too large."""
    bounded: IntArray = np.clip(np.rint(spread), UNIT // 256, 4 * UNIT).astype(np.int64)
    return bounded
