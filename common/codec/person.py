"""Codec state of one person: prediction of the next frame and coding of the residuals.

All arithmetic is on integers and on decoded values, so the states of encoder and decoder stay equal.

Prediction: x̂_j = x + j/2 · v · lag for j = 0, 1, 2 (zero-order hold, half and full linear extrapolation), lag in frames
since the acknowledged state.  Each entry keeps the running mean error of each of the three predictors and uses the
best; the same mean selects its frequency table.  Neither choice is transmitted.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.codec.quantiser import (
    GROUP_OF_ENTRY,
    LEVELS,
    LIMIT,
    from_fixed,
    prefix_lengths,
    prefix_mask,
    quantise,
    steps,
)
from common.codec.range_coder import SymbolCoder
from common.codec.tables import CodecTables
from common.frames import MAX_FRAME_SEQUENCE
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, group_slices

SCORES: Final = 64
CONFIDENCES: Final = 16
UNKNOWN_LEVEL: Final = -1

FAST: Final[BoolArray] = np.array([group.fast for group in GROUPS])
_FAST_ENTRY: Final = FAST[GROUP_OF_ENTRY]
_PREDICTORS: Final = 3
SLICES: Final = tuple(group_slices().items())
_STARTS: Final = np.array([group.start for _, group in SLICES])
_COLUMNS: Final = np.arange(LABEL_SIZE)
_MAX_EXTRAPOLATION_FRAMES: Final = 6
_MAX_AVERAGING_FRAMES: Final = 12
_MAX_AGE: Final = 255

# 16 · lag^0.7: growth of the residuals with the age of the reference, for lag 0…16.
_LAG_GROWTH: Final = (16, 16, 26, 35, 42, 49, 56, 62, 69, 75, 80, 86, 91, 96, 101, 107, 111)


@dataclass(frozen=True)
class PersonState:
    """State of a person after a frame; E = LABEL_SIZE entries, G groups, values in 2⁻¹⁶ σ.

    Args:
        values: (E,) decoded entries; zero where `age` is zero.
        velocity: (E,) change per frame.
        spread: (3, E) running mean error of each predictor over one frame.
        age: (E,) number of times an entry was decoded since it was last unknown.
        level: (G,) ρ level at which each group was last sent, −1 if never.
        confidence: (G,) 0…15.
        score: 0…63.
        updated: (G,) sequence number of the frame that last had a group.
    """

    values: IntArray
    velocity: IntArray
    spread: IntArray
    age: IntArray
    level: IntArray
    confidence: IntArray
    score: int
    updated: IntArray


@dataclass(frozen=True)
class PersonPlan:
    """The part of a packet that precedes a person's entries: which groups follow, and at which level.

    Args:
        sent: (G,) groups in this packet.
        level: (G,) their ρ levels; undefined where not sent.
        confidence: (G,) 0…15.
        score: 0…63.
    """

    sent: BoolArray
    level: IntArray
    confidence: IntArray
    score: int


@dataclass(frozen=True)
class Prediction:
    """The expected values of a person's entries, and how their residuals are coded.

    Args:
        entries: (E,) entries that are coded, as `centre` + `step` · residual.
        lengths: number of coded entries of each group, a prefix of it.
        centre: (E,) the best predictor's value.
        step: (E,) quantiser step.
        scale: (E,) row of the frequency table.
        shift: (E,) number of low bits that bypass the table.
        candidates: (3, E) the values of all predictors.
        growth: growth of the residuals with the lag, in sixteenths.
        lag: frames since the reference.
    """

    entries: BoolArray
    lengths: list[int]
    centre: IntArray
    step: IntArray
    scale: IntArray
    shift: IntArray
    candidates: IntArray
    growth: int
    lag: int


def unknown_person(tables: CodecTables) -> PersonState:
    """The state of a new person: all zero, with the spread of the labels themselves."""
    zeros = np.zeros(LABEL_SIZE, dtype=np.int64)
    return PersonState(
        values=zeros,
        velocity=zeros,
        spread=np.tile(tables.key_spread, (_PREDICTORS, 1)),
        age=zeros,
        level=np.full(len(GROUPS), UNKNOWN_LEVEL, dtype=np.int64),
        confidence=np.full(len(GROUPS), CONFIDENCES - 1, dtype=np.int64),
        score=SCORES - 1,
        updated=np.zeros(len(GROUPS), dtype=np.int64),
    )


def check_person(person: PersonState) -> None:
    """Checks the ranges of a state that was not made by `advance`: coding never raises for one that passes.

    Raises:
        ValueError: a field is out of range.
    """
    ranges = (
        (person.values, -2 * LIMIT, 2 * LIMIT),
        (person.velocity, -4 * LIMIT, 4 * LIMIT),
        (person.spread, 0, 8 * LIMIT),
        (person.age, 0, _MAX_AGE),
        (person.level, UNKNOWN_LEVEL, LEVELS - 1),
        (person.confidence, 0, CONFIDENCES - 1),
        (person.score, 0, SCORES - 1),
        (person.updated, 0, MAX_FRAME_SEQUENCE),
    )
    if any(np.min(values) < lowest or np.max(values) > highest for values, lowest, highest in ranges):
        raise ValueError("a person's state is out of range")


def code_plan(coder: SymbolCoder, state: PersonState, plan: PersonPlan | None) -> PersonPlan:
    """Writes `plan`, or reads one when it is None; a number that equals the reference costs a tenth of a bit."""
    sent, level, confidence = FAST.copy(), np.maximum(state.level, 0), state.confidence.copy()
    score = _code_if_changed(coder, state.score, None if plan is None else plan.score, SCORES)
    for g in range(len(GROUPS)):
        unusual = None if plan is None else bool(plan.sent[g]) != bool(FAST[g])
        sent[g] = coder.rare_flag(unusual) != bool(FAST[g])
        if sent[g]:
            plan_level = None if plan is None else int(plan.level[g])
            plan_confidence = None if plan is None else int(plan.confidence[g])
            level[g] = _code_if_changed(coder, int(state.level[g]), plan_level, LEVELS)
            confidence[g] = _code_if_changed(coder, int(state.confidence[g]), plan_confidence, CONFIDENCES)
    return PersonPlan(sent, level, confidence, score)


def _code_if_changed(coder: SymbolCoder, known: int, value: int | None, size: int) -> int:
    if known >= 0 and not coder.rare_flag(None if value is None else value != known):
        return known
    return coder.uniform(value, size)


def predict(tables: CodecTables, state: PersonState, plan: PersonPlan, lag: int) -> Prediction:
    """Predicts each entry `lag` frames after `state`, and the spread of its residual."""
    displacement = state.velocity * min(lag, _MAX_EXTRAPOLATION_FRAMES)
    candidates = state.values + ((displacement * np.arange(_PREDICTORS, dtype=np.int64)[:, None]) >> 1)
    candidates = np.minimum(np.maximum(candidates, -LIMIT), LIMIT)
    best = state.spread.argmin(axis=0)
    growth = _LAG_GROWTH[min(lag, len(_LAG_GROWTH) - 1)]
    spread = np.where(state.age > 0, (state.spread[best, _COLUMNS] * growth) >> 4, tables.key_spread)
    lengths = prefix_lengths(plan.level, plan.sent)
    step = steps(tables.base_step, plan.level)
    scale, shift = tables.scale_of(spread, step)
    centre = candidates[best, _COLUMNS]
    return Prediction(prefix_mask(lengths), lengths.tolist(), centre, step, scale, shift, candidates, growth, lag)


def residuals(prediction: Prediction, target: IntArray) -> IntArray:
    """(E,) quantised residuals of `target` (E,)."""
    return quantise(target - prediction.centre, prediction.step)


def code_residuals(coder: SymbolCoder, prediction: Prediction, group: int, indices: IntArray, *, write: bool) -> None:
    """Writes the coded entries of a group of `indices` (E,), or reads them into it."""
    start = SLICES[group][1].start
    coded = slice(start, start + prediction.lengths[group])
    written = indices[coded] if write else None
    indices[coded] = coder.residuals(prediction.scale[coded], prediction.shift[coded], written)


def decoded_values(prediction: Prediction, indices: IntArray) -> IntArray:
    """(E,) values of the coded entries, for their quantised residuals; the others are undefined."""
    return np.minimum(np.maximum(prediction.centre + indices * prediction.step, -2 * LIMIT), 2 * LIMIT)


def advance(
    tables: CodecTables, state: PersonState, plan: PersonPlan, prediction: Prediction, values: IntArray, sequence: int
) -> PersonState:
    """The state after a frame whose coded entries `prediction.entries` have the decoded `values` (E,).

    Fast entries that were not sent become unknown; slow ones keep their values.
    """
    coded = prediction.entries
    lost = _FAST_ENTRY & ~coded
    known_before = coded & (state.age > 0)
    error = np.abs(values - prediction.candidates) * 16 // prediction.growth
    divisor = np.minimum(state.age + 2, _MAX_AVERAGING_FRAMES)
    spread = np.where(known_before, state.spread + (error - state.spread) // divisor, state.spread)
    spread = np.where(coded & ~known_before, tables.first_spread, spread)
    # The next update of a slow group changes it by about one step, independently of the last change.
    spread = np.where(coded & ~_FAST_ENTRY, prediction.step >> 1, spread)
    change = (values - state.values) // prediction.lag if prediction.lag else 0
    velocity = np.where(known_before & _FAST_ENTRY, change, 0)
    return PersonState(
        values=np.where(coded, values, np.where(lost, 0, state.values)),
        velocity=velocity,
        spread=np.where(lost, tables.key_spread, spread),
        age=np.where(lost, 0, np.minimum(state.age + coded, _MAX_AGE)),
        level=np.where(plan.sent, plan.level, np.where(FAST, UNKNOWN_LEVEL, state.level)),
        confidence=plan.confidence,
        score=plan.score,
        updated=np.where(plan.sent, sequence, state.updated),
    )


def known_labels(state: PersonState) -> dict[str, FloatArray]:
    """Group name → its known prefix; groups without known entries are absent."""
    lengths = np.add.reduceat(state.age > 0, _STARTS, dtype=np.int64).tolist()
    values = from_fixed(state.values)
    return {
        name: values[group.start : group.start + length]
        for (name, group), length in zip(SLICES, lengths, strict=True)
        if length
    }


def known_confidence(state: PersonState) -> dict[str, float]:
    """Group name → 0…1, for the known groups."""
    return {
        name: int(state.confidence[g]) / (CONFIDENCES - 1)
        for g, name in enumerate(GROUP_NAMES)
        if state.level[g] != UNKNOWN_LEVEL
    }


def keep_missing(before: PersonState, after: PersonState, missing: BoolArray) -> PersonState:
    """`after`, but the groups that are `missing` in a truncated packet keep their state of `before`."""
    entry = missing[GROUP_OF_ENTRY]
    return replace(
        after,
        values=np.where(entry, before.values, after.values),
        age=np.where(entry, before.age, after.age),
        level=np.where(missing, before.level, after.level),
    )
