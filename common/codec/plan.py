"""The encoder's plan of a person: which groups go into a packet, and at which level."""

import numpy as np

from common.arrays import BoolArray, Float64Array, IntArray
from common.codec.person import CONFIDENCES, FAST, SCORES, PersonPlan, PersonState
from common.codec.quantiser import GROUP_OF_ENTRY, steps
from common.codec.tables import CodecTables
from common.frames import PersonLabels
from common.labels import GROUP_NAMES

# ρ level at which a slow group is first sent, levels per refinement, and frames between two updates of a group.
_FIRST_SLOW_LEVEL, _REFINEMENT_LEVELS, _SLOW_PERIOD_FRAMES = 9, 3, 2
# Smaller changes of a level are not worth the bits that announce them; smaller ones of a confidence are mostly noise.
_LEVEL_HYSTERESIS, _CONFIDENCE_HYSTERESIS, _SCORE_HYSTERESIS = 1, 3, 6


def choose_plan(
    tables: CodecTables,
    before: PersonState,
    person: PersonLabels,
    target: IntArray,
    present: BoolArray,
    levels: IntArray,
    progressive: bool,
    sequence: int,
) -> PersonPlan:
    """The plan of a frame: every fast group, new slow groups at their first level, and at most one of them refined.

    Args:
        target: (E,) the person's entries in 2⁻¹⁶ σ.
        present: (G,) groups that the person has.
        levels: (G,) finest level of each group.
        progressive: whether slow groups are first sent coarsely.
    """
    known = before.level >= 0
    near = known & (np.abs(levels - before.level) <= _LEVEL_HYSTERESIS)
    fast_level = np.where(near, before.level, levels)
    step_down = np.where(known, before.level - _REFINEMENT_LEVELS, _FIRST_SLOW_LEVEL if progressive else 0)
    level = np.where(FAST, fast_level, np.maximum(levels, step_down))
    sent = present & (FAST | ~known)
    excess = _slow_excess(tables, before, target, level)
    due = ~FAST & known & present & (sequence - before.updated >= _SLOW_PERIOD_FRAMES) & (excess > 1.0)
    if due.any():
        sent[int(np.argmax(np.where(due, excess, 0.0)))] = True
    confidence = np.array([_share(person.confidence.get(name, 1.0), CONFIDENCES) for name in GROUP_NAMES])
    same = known & (np.abs(confidence - before.confidence) <= _CONFIDENCE_HYSTERESIS)
    confidence = np.where(same, before.confidence, confidence)
    score = _share(person.score, SCORES)
    score = before.score if known.any() and abs(score - before.score) <= _SCORE_HYSTERESIS else score
    return PersonPlan(sent, level, np.where(sent, confidence, before.confidence), score)


def _share(value: float, size: int) -> int:
    return round(min(max(value, 0.0), 1.0) * (size - 1))


def _slow_excess(tables: CodecTables, before: PersonState, target: IntArray, level: IntArray) -> Float64Array:
    """(G,) largest error in each group relative to its limit: 3/4 step where the level gets finer, else 2 steps."""
    error_steps = np.abs(target - before.values) / steps(tables.base_step, level)
    largest = np.zeros(len(GROUP_NAMES))
    np.maximum.at(largest, GROUP_OF_ENTRY, error_steps)
    return largest / np.where(level < before.level, 0.75, 2.0)
