"""One person inside the codec: what both ends remember, how it predicts the next frame, how a residual is coded.

Everything here is integer arithmetic on decoded values, so the encoder's copy and the decoder's copy stay equal.

Prediction: x̂_j = x + j/2 · v · lag for j = 0, 1, 2 (hold, half and full extrapolation), lag in frames since the
acknowledged state.  Each entry keeps the running mean error of each of the three and uses the best; that same mean
selects its frequency table.  Nothing is signalled.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.codec.quantiser import GROUP_OF_ENTRY, LEVELS, LIMIT, from_fixed, prefix_mask, quantise, steps
from common.codec.range_coder import SymbolCoder
from common.codec.tables import CodecTables
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, group_slices

SCORES: Final = 64
CONFIDENCES: Final = 16
UNKNOWN_LEVEL: Final = -1

FAST: Final[BoolArray] = np.array([group.fast for group in GROUPS])
_FAST_ENTRY: Final = FAST[GROUP_OF_ENTRY]
_PREDICTORS: Final = 3
SLICES: Final = tuple(group_slices().items())
_COLUMNS: Final = np.arange(LABEL_SIZE)
_MAX_EXTRAPOLATION: Final = 6
_SLOWEST_RATE: Final = 12

# 16 · lag^0.7: how residuals grow with the age of the reference, for lag 0…16.
_LAG_GROWTH: Final = (16, 16, 26, 35, 42, 49, 56, 62, 69, 75, 80, 86, 91, 96, 101, 107, 111)


@dataclass(frozen=True)
class PersonState:
    """What is known about a person after a frame; E = LABEL_SIZE entries, G groups, values in 2⁻¹⁶ σ.

    Args:
        values: (E,) decoded entries; zero where `age` is zero.
        velocity: (E,) change per frame.
        spread: (3, E) running mean error of each predictor over one frame.
        age: (E,) how often an entry was decoded since it was last unknown.
        level: (G,) ρ level each group was last sent at, −1 if never.
        confidence: (G,) 0…15.
        score: 0…63.
        updated: (G,) sequence of the frame a group last came with.
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
    """What a packet says about a person before the entries: which groups it has, and how fine.

    Args:
        sent: (G,) groups in this packet.
        level: (G,) their ρ levels; meaningless where not sent.
        confidence: (G,) 0…15.
        score: 0…63.
    """

    sent: BoolArray
    level: IntArray
    confidence: IntArray
    score: int


@dataclass(frozen=True)
class Prediction:
    """`entries` are coded as `centre` + step · residual; `candidates` (3, E) and `growth` serve the next update."""

    entries: BoolArray
    centre: IntArray
    step: IntArray
    scale: IntArray
    shift: IntArray
    candidates: IntArray
    growth: int
    lag: int


def unknown_person(tables: CodecTables) -> PersonState:
    """The state before anything was decoded: all zero, spread as wide as the labels themselves."""
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


def code_plan(coder: SymbolCoder, state: PersonState, plan: PersonPlan | None) -> PersonPlan:
    """Writes `plan`, or reads one when it is None; what equals the reference costs a tenth of a bit."""
    sent, level, confidence = FAST.copy(), np.maximum(state.level, 0), state.confidence.copy()
    score = _code_if_changed(coder, state.score, None if plan is None else plan.score, SCORES)
    for g in range(len(GROUPS)):
        wanted = None if plan is None else bool(plan.sent[g]) != bool(FAST[g])
        sent[g] = coder.rare(wanted) != bool(FAST[g])
        if sent[g]:
            wanted_level = None if plan is None else int(plan.level[g])
            wanted_confidence = None if plan is None else int(plan.confidence[g])
            level[g] = _code_if_changed(coder, int(state.level[g]), wanted_level, LEVELS)
            confidence[g] = _code_if_changed(coder, int(state.confidence[g]), wanted_confidence, CONFIDENCES)
    return PersonPlan(sent, level, confidence, score)


def _code_if_changed(coder: SymbolCoder, known: int, value: int | None, size: int) -> int:
    if known >= 0 and not coder.rare(None if value is None else value != known):
        return known
    return coder.uniform(value, size)


def predict(tables: CodecTables, state: PersonState, plan: PersonPlan, lag: int) -> Prediction:
    """Where each coded entry is expected, `lag` frames after `state`, and how far off that usually is."""
    travel = state.velocity * min(lag, _MAX_EXTRAPOLATION)
    candidates = state.values + ((travel * np.arange(_PREDICTORS, dtype=np.int64)[:, None]) >> 1)
    candidates = np.minimum(np.maximum(candidates, -LIMIT), LIMIT)
    best = state.spread.argmin(axis=0)
    growth = _LAG_GROWTH[min(lag, len(_LAG_GROWTH) - 1)]
    spread = np.where(state.age > 0, (state.spread[best, _COLUMNS] * growth) >> 4, tables.key_spread)
    entries = prefix_mask(plan.level, plan.sent)
    step = steps(tables.base_step, plan.level)
    scale, shift = tables.scale_of(spread, step)
    return Prediction(entries, candidates[best, _COLUMNS], step, scale, shift, candidates, growth, lag)


def code_entries(coder: SymbolCoder, ahead: Prediction, group: slice, target: IntArray | None, into: IntArray) -> None:
    """Writes a group's entries of `target` (E,), or reads them when it is None; decoded, they go to `into`."""
    # Of a group that comes, it is the first entries that come.
    coded = slice(group.start, group.start + int(np.count_nonzero(ahead.entries[group])))
    centre, step = ahead.centre[coded], ahead.step[coded]
    index = None if target is None else quantise(target[coded] - centre, step)
    index = coder.residuals(ahead.scale[coded], ahead.shift[coded], index)
    into[coded] = np.minimum(np.maximum(centre + index * step, -2 * LIMIT), 2 * LIMIT)


def advance(
    tables: CodecTables, state: PersonState, plan: PersonPlan, ahead: Prediction, values: IntArray, sequence: int
) -> PersonState:
    """The state after a frame whose entries `ahead.entries` decoded to `values`.

    Fast entries that were not sent become unknown again; slow ones stay.
    """
    coded = ahead.entries
    gone = _FAST_ENTRY & ~coded
    seen_before = coded & (state.age > 0)
    error = np.abs(values - ahead.candidates) * 16 // ahead.growth
    rate = np.minimum(state.age + 2, _SLOWEST_RATE)
    spread = np.where(seen_before, state.spread + (error - state.spread) // rate, state.spread)
    spread = np.where(coded & ~seen_before, tables.first_spread, spread)
    # A slow group's next update refines or corrects it by about its step, whatever the last one was.
    spread = np.where(coded & ~_FAST_ENTRY, ahead.step >> 1, spread)
    velocity = np.where(seen_before & _FAST_ENTRY, (values - state.values) // ahead.lag if ahead.lag else 0, 0)
    return PersonState(
        values=np.where(coded, values, np.where(gone, 0, state.values)),
        velocity=velocity,
        spread=np.where(gone, tables.key_spread, spread),
        age=np.where(gone, 0, np.minimum(state.age + coded, 255)),
        level=np.where(plan.sent, plan.level, np.where(FAST, UNKNOWN_LEVEL, state.level)),
        confidence=plan.confidence,
        score=plan.score,
        updated=np.where(plan.sent, sequence, state.updated),
    )


def known_labels(state: PersonState) -> dict[str, FloatArray]:
    """Group name → the prefix that is known; groups of which nothing is known are absent."""
    known, values, labels = state.age > 0, from_fixed(state.values), {}
    for name, group in SLICES:
        length = int(np.count_nonzero(known[group]))
        if length:
            labels[name] = values[group.start : group.start + length]
    return labels


def known_confidence(state: PersonState) -> dict[str, float]:
    """Group name → 0…1 for the groups that are known."""
    return {
        name: int(state.confidence[g]) / (CONFIDENCES - 1)
        for g, name in enumerate(GROUP_NAMES)
        if state.level[g] != UNKNOWN_LEVEL
    }


def keep_missing(before: PersonState, after: PersonState, missing: BoolArray) -> PersonState:
    """`after`, with the groups `missing` in a cut packet held as they were `before`."""
    entry = missing[GROUP_OF_ENTRY]
    return replace(
        after,
        values=np.where(entry, before.values, after.values),
        age=np.where(entry, before.age, after.age),
        level=np.where(missing, before.level, after.level),
    )
