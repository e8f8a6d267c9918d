"""The encoder's plan of a person: which groups go into a packet, and at which level."""

import numpy as np

from common.arrays import BoolArray, Float64Array, IntArray
from common.codec.frame_state import SLOW_GROUPS, with_newer
from common.codec.person import CONFIDENCES, FAST, OPTIONAL, SCORES, UNSEEN, PersonPlan, PersonState
from common.codec.quantiser import GROUP_OF_ENTRY, UNIT, steps
from common.codec.tables import CodecTables
from common.frames import PersonLabels
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS, group_slices

# ρ level at which a slow group is first sent, levels per refinement, and frames between two updates of a group.
_FIRST_SLOW_LEVEL, _REFINEMENT_LEVELS, _SLOW_PERIOD_FRAMES = 9, 3, 2
# After so many frames without acknowledgement, a group that is under way counts as lost.
_UNDER_WAY_FRAMES = 16
# ρ level of groups that nobody sees.  They are sent again when the mean of their leading entries has moved by one σ on
# average, and so many frames have passed.
_UNSEEN_LEVEL, _UNSEEN_PERIOD_FRAMES = 9, 30
_LEADING = np.array([np.arange(3) + group.start for group in group_slices().values()])
# Smaller changes of a level are not worth the bits that announce them; smaller ones of a confidence are mostly noise.
_LEVEL_HYSTERESIS, _CONFIDENCE_HYSTERESIS, _SCORE_HYSTERESIS = 1, 3, 6


def choose_plan(
    tables: CodecTables,
    before: PersonState,
    newest: PersonState,
    person: PersonLabels,
    target: IntArray,
    present: BoolArray,
    levels: IntArray,
    progressive: bool,
    sequence: int,
) -> PersonPlan:
    """The plan of a frame: fast groups that are seen, new slow groups at their first level, and at most one refined.

    Groups that nobody sees are sent coarsely when that begins, and when their means have moved far.

    Args:
        before: of the reference.
        newest: after the last frame that was sent; its confidences and score stay unless they change much, and slow and
            unseen groups of it that are under way are not sent again.
        target: (E,) the person's entries in 2⁻¹⁶ σ.
        present: (G,) groups that the person has.
        levels: (G,) finest level of each group.
        progressive: whether slow groups are first sent coarsely.
    """
    before = with_newer(before, newest, 0, SLOW_GROUPS | before.unseen, sequence - _UNDER_WAY_FRAMES)
    known = before.level >= 0
    near = known & (np.abs(levels - before.level) <= _LEVEL_HYSTERESIS)
    confidence = _confidence(newest, person)
    unseen = UNSEEN & (confidence == 0)
    fast_level = np.where(unseen, _UNSEEN_LEVEL, np.where(near, before.level, levels))
    step_down = np.where(known, before.level - _REFINEMENT_LEVELS, _FIRST_SLOW_LEVEL if progressive else 0)
    level = np.where(FAST, fast_level, np.maximum(levels, step_down))
    rests = known & unseen & before.unseen & ~_moved(before, target, sequence)
    # That the person has lost an optional group is said once.
    present = present | (OPTIONAL & known & ~before.unseen)
    sent = present & ((FAST & ~rests) | ~known)
    excess = _slow_excess(tables, before, target, level)
    due = ~FAST & known & present & (sequence - before.updated >= _SLOW_PERIOD_FRAMES) & (excess > 1.0)
    if due.any():
        sent[int(np.argmax(np.where(due, excess, 0.0)))] = True
    score = _share(person.score, SCORES)
    near_score = known.any() and abs(score - newest.score) <= _SCORE_HYSTERESIS
    score = newest.score if near_score else score
    return PersonPlan(sent, level, np.where(sent, confidence, before.confidence), score)


def _confidence(newest: PersonState, person: PersonLabels) -> IntArray:
    """(G,) what is sent of each confidence; 0 of a limb is exact, and that of an optional group that is not there."""
    lacking = [name in OPTIONAL_GROUPS and name not in person.labels for name in GROUP_NAMES]
    stated = np.where(lacking, 0.0, [person.confidence.get(name, 1.0) for name in GROUP_NAMES])
    unseen = UNSEEN & (stated == 0)
    confidence = np.array([_share(value, CONFIDENCES) for value in stated.tolist()])
    confidence = np.where(UNSEEN & ~unseen, np.maximum(confidence, 1), confidence)
    near = np.abs(confidence - newest.confidence) <= _CONFIDENCE_HYSTERESIS
    return np.where((newest.level >= 0) & near & (newest.unseen == unseen), newest.confidence, confidence)


def _moved(before: PersonState, target: IntArray, sequence: int) -> BoolArray:
    """(G,) groups whose means are far from what was sent last, which is some time ago."""
    distance = np.abs(target - before.values)[_LEADING].mean(axis=1)
    moved: BoolArray = (distance > UNIT) & (sequence - before.updated >= _UNSEEN_PERIOD_FRAMES)
    return moved


def _share(value: float, size: int) -> int:
    return round(min(max(value, 0.0), 1.0) * (size - 1))


def _slow_excess(tables: CodecTables, before: PersonState, target: IntArray, level: IntArray) -> Float64Array:
    """(G,) largest error in each group relative to its limit: 3/4 step where the level gets finer, else 2 steps."""
    error_steps = np.abs(target - before.values) / steps(tables.base_step, level)
    largest = np.zeros(len(GROUP_NAMES))
    np.maximum.at(largest, GROUP_OF_ENTRY, error_steps)
    return largest / np.where(level < before.level, 0.75, 2.0)
