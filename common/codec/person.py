"""A person's labels as bits: which entries are sent, from what they are predicted, and how orientations turn.

The six orientation entries of the `root` group are the first two columns of a rotation matrix R, divided by
`ROTATION_SCALE`.  They have three degrees of freedom, so the codec transmits three numbers: the modified Rodrigues
parameters vec(q) / (1 + w) of the unit quaternion q = (w, vec) of R̂ᵀ R, times 4, where R̂ is the predicted orientation.
For small angles they are the rotation vector in the body's axes, radians; they have no singularity up to a whole turn.

Encoder and decoder must compute equal integers.  All arithmetic is on Python floats with + − × ÷ and `math.sqrt`,
which IEEE 754 rounds correctly, one operation at a time; no library of linear algebra and no transcendental function.

Codec state of one person: prediction of the next frame and coding of the residuals.

All arithmetic is on integers and on decoded values, so the states of encoder and decoder stay equal; orientations are
computed as above.

Prediction: x̂_j = x + j/2 · v · lag for j = 0, 1, 2 (zero-order hold, half and full linear extrapolation), lag in frames
since the acknowledged state.  Each entry keeps the running mean error of each of the three predictors and uses the
best; the same mean selects its frequency table, together with the magnitude of the residuals that the frame has had so
far.  Neither choice is transmitted.  A fast group that is not in a packet is extrapolated by half.

A limb that nobody sees (`common.frames.unseen_limbs`), or hands, have the confidence 0.  Such a group stays as it was
sent last and is not expected in a packet; in one that has it, all its entries are as unknown as a new person's.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Self
from zlib import crc32

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.codec.range_coder import SymbolCoder, table_symbols
from common.codec.tables import GROUP_OF_ENTRY, LEVELS, LIMIT, SCALES, UNIT, CodecTables, from_fixed, quantise, steps
from common.frames import MAX_FRAME_SEQUENCE
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, MAY_BE_UNSEEN, OPTIONAL_GROUPS, ROTATION_SCALE, group_slices

Vector = tuple[float, float, float]
Rotation = tuple[Vector, Vector, Vector]
"""The three columns of a rotation matrix."""

ENTRIES: Final = 6
"""Number of orientation entries, which lead the `root` group; the first 3 hold the residual rotation while coded."""
_ENTRY_UNIT: Final = UNIT / ROTATION_SCALE
_UPRIGHT: Final[Rotation] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_SMALLEST: Final = 1e-3


def rotation_of(entries: Sequence[int]) -> Rotation:
    """The rotation in six entries, 2⁻¹⁶ σ, by Gram–Schmidt as in `common.body.label_space`.

    Upright and facing the camera where the entries have no direction, as zeros do.
    """
    first = _scaled(entries[:3])
    length = math.sqrt(_dot(first, first))
    if length < _SMALLEST:
        return _UPRIGHT
    a = (first[0] / length, first[1] / length, first[2] / length)
    second = _scaled(entries[3:])
    along = _dot(a, second)
    rest = (second[0] - along * a[0], second[1] - along * a[1], second[2] - along * a[2])
    length = math.sqrt(_dot(rest, rest))
    if length < _SMALLEST:
        return _UPRIGHT
    b = (rest[0] / length, rest[1] / length, rest[2] / length)
    return a, b, _cross(a, b)


def entries_of(rotation: Rotation) -> list[int]:
    """The six entries of a rotation, 2⁻¹⁶ σ."""
    return [round(value * _ENTRY_UNIT) for column in rotation[:2] for value in column]


def residual_of(predicted: Rotation, rotation: Rotation) -> Vector:
    """(3,) parameters of `rotation` relative to `predicted`, in 2⁻¹⁶ of an entry's unit."""
    # m[i][j] is row i, column j of R̂ᵀ R.
    m = [[_dot(row, column) for column in rotation] for row in predicted]
    w, x, y, z = _quaternion(m)
    scale = (4.0 if w >= 0.0 else -4.0) * _ENTRY_UNIT / (1.0 + abs(w))
    return x * scale, y * scale, z * scale


def rotated(predicted: Rotation, residual: Sequence[int]) -> Rotation:
    """The inverse of `residual_of`: R̂ turned by the parameters (3,)."""
    x, y, z = (value / _ENTRY_UNIT / 4.0 for value in residual)
    square = x * x + y * y + z * z
    share = 2.0 / (1.0 + square)
    x, y, z, w = x * share, y * share, z * share, (1.0 - square) / (1.0 + square)
    columns = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)),
        (2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)),
        (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)),
    )
    first, second, third = (_applied(predicted, column) for column in columns)
    return first, second, third


def angles_between(entries: Sequence[int], rotation: Rotation) -> list[int]:
    """(3,) magnitude of the small rotation from six `entries` to `rotation` around each body axis, 2⁻¹⁶ units."""
    a, b, c = rotation
    first = _difference(a, entries[:3])
    second = _difference(b, entries[3:])
    return [round(abs(_dot(second, c))), round(abs(_dot(first, c))), round(abs(_dot(first, b)))]


def _difference(column: Vector, entries: Sequence[int]) -> Vector:
    """A column minus the one in `entries`, in 2⁻¹⁶ units."""
    x, y, z = entries
    return column[0] * _ENTRY_UNIT - x, column[1] * _ENTRY_UNIT - y, column[2] * _ENTRY_UNIT - z


def _scaled(entries: Sequence[int]) -> Vector:
    x, y, z = entries
    return x / _ENTRY_UNIT, y / _ENTRY_UNIT, z / _ENTRY_UNIT


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _applied(rotation: Rotation, vector: Vector) -> Vector:
    a, b, c = rotation
    x, y, z = vector
    return (
        a[0] * x + b[0] * y + c[0] * z,
        a[1] * x + b[1] * y + c[1] * z,
        a[2] * x + b[2] * y + c[2] * z,
    )


def _quaternion(m: list[list[float]]) -> tuple[float, float, float, float]:
    """The unit quaternion (w, x, y, z) of a rotation matrix of rows, from its largest component (Shepperd, 1978)."""
    trace = m[0][0] + m[1][1] + m[2][2]
    squares = (trace, m[0][0], m[1][1], m[2][2])
    largest = max(range(4), key=squares.__getitem__)
    root = math.sqrt(max(1.0 + 2.0 * squares[largest] - trace, _SMALLEST))
    share = 0.5 / root
    differences = (m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1])
    if largest == 0:
        return root / 2, differences[0] * share, differences[1] * share, differences[2] * share
    axis = largest - 1
    vector = [(m[axis][other] + m[other][axis]) * share for other in range(3)]
    vector[axis] = root / 2
    return differences[axis] * share, vector[0], vector[1], vector[2]


SCORES: Final = 64
CONFIDENCES: Final = 16
UNKNOWN_LEVEL: Final = -1

FAST: Final[BoolArray] = np.array([group.fast for group in GROUPS])
UNSEEN: Final[BoolArray] = np.isin(GROUP_NAMES, MAY_BE_UNSEEN)
OPTIONAL: Final[BoolArray] = np.isin(GROUP_NAMES, OPTIONAL_GROUPS)
"""Groups that are unseen where their confidence is 0."""
_FAST_ENTRY: Final = FAST[GROUP_OF_ENTRY]
_PREDICTORS: Final = 3
_SLICES: Final = tuple(group_slices().items())
_ROOT: Final = GROUP_NAMES.index("root")
_ORIENTATION: Final = slice(_SLICES[_ROOT][1].start, _SLICES[_ROOT][1].start + ENTRIES)
_TANGENT: Final = slice(_ORIENTATION.start, _ORIENTATION.start + 3)
_STARTS: Final = np.array([group.start for _, group in _SLICES])
_COLUMNS: Final = np.arange(LABEL_SIZE)
_MAX_EXTRAPOLATION_FRAMES: Final = 6
_MAX_AVERAGING_FRAMES: Final = 12
_MAX_AGE: Final = 255

# The entries of each group that have a residual: of the orientation three, which are a residual rotation.
CODED_ENTRIES: Final = tuple(
    np.delete(_COLUMNS[where], np.s_[3:ENTRIES]) if name == "root" else _COLUMNS[where] for name, where in _SLICES
)

_CODED: Final = np.concatenate(CODED_ENTRIES)
_CODED_STOPS: Final = np.cumsum([len(entries) for entries in CODED_ENTRIES])
_CODED_STARTS: Final = np.append(0, _CODED_STOPS[:-1])
_CODED_SLICES: Final = tuple(map(slice, _CODED_STARTS.tolist(), _CODED_STOPS.tolist()))

# 16 · lag^0.7: growth of the residuals with the age of the reference, for lag 0…16.
_LAG_GROWTH: Final = (16, 16, 26, 35, 42, 49, 56, 62, 69, 75, 80, 86, 91, 96, 101, 107, 111)


@dataclass(frozen=True)
class PersonState:
    """State of a person after a frame; E = LABEL_SIZE entries, G groups, values in 2⁻¹⁶ σ.

    Args:
        values: (E,) decoded or predicted entries; zero where `age` is zero.
        velocity: (E,) change per frame.
        spread: (3, E) running mean error of each predictor over one frame.
        age: (E,) number of times an entry was decoded.
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

    @property
    def unseen(self) -> BoolArray:
        """(G,) groups that nobody sees."""
        unseen: BoolArray = UNSEEN & (self.confidence == 0)
        return unseen

    def checksum(self, seed: int) -> int:
        """CRC-32 over the state, which differs where two decoders would go on differently."""
        for field in fields(self):
            value = getattr(self, field.name)
            data = value.to_bytes(1) if isinstance(value, int) else value.astype("<i8", copy=False).tobytes()
            seed = crc32(data, seed)
        return seed


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
        centre: (E,) the best predictor's value; of the orientation, the predicted rotation's entries.
        step: (E,) quantiser step.
        scale: (E,) row of the frequency table.
        shift: (E,) number of low bits that bypass the table.
        candidates: (3, E) the values of all predictors.
        orientation: the predicted rotation.
        growth: growth of the residuals with the lag, in sixteenths.
        lag: frames since the reference.
    """

    centre: IntArray
    step: IntArray
    scale: IntArray
    shift: IntArray
    candidates: IntArray
    orientation: Rotation
    growth: int
    lag: int


def unknown_person(tables: CodecTables) -> PersonState:
    """The state of a new person: all zero, with the spread of the labels themselves, and no optional group."""
    zeros = np.zeros(LABEL_SIZE, dtype=np.int64)
    return PersonState(
        values=zeros,
        velocity=zeros,
        spread=np.tile(tables.key_spread, (_PREDICTORS, 1)),
        age=zeros,
        level=np.full(len(GROUPS), UNKNOWN_LEVEL, dtype=np.int64),
        confidence=np.where(OPTIONAL, 0, CONFIDENCES - 1).astype(np.int64),
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
    """Writes `plan`, or reads one when it is None.

    All fast groups that are seen and nothing else, each as in the reference, costs a tenth of a bit.
    """
    usual = PersonPlan(FAST & ~state.unseen, state.level, state.confidence, state.score)
    unusual = None if plan is None else not _is_same(plan, usual)
    if (state.level[usual.sent] >= 0).all() and not coder.rare_flag(unusual):
        return usual
    sent, level, confidence = usual.sent.copy(), np.maximum(state.level, 0), state.confidence.copy()
    score = _code_if_changed(coder, state.score, None if plan is None else plan.score, SCORES)
    for g in range(len(GROUPS)):
        unusual = None if plan is None else bool(plan.sent[g]) != bool(usual.sent[g])
        sent[g] = coder.rare_flag(unusual) != bool(usual.sent[g])
        if sent[g]:
            plan_level = None if plan is None else int(plan.level[g])
            plan_confidence = None if plan is None else int(plan.confidence[g])
            level[g] = _code_if_changed(coder, int(state.level[g]), plan_level, LEVELS)
            confidence[g] = _code_if_changed(coder, int(state.confidence[g]), plan_confidence, CONFIDENCES)
    return PersonPlan(sent, level, confidence, score)


def _is_same(plan: PersonPlan, usual: PersonPlan) -> bool:
    sent = usual.sent
    return (
        bool((plan.sent == sent).all())
        and bool((plan.level == usual.level)[sent].all())
        and bool((plan.confidence == usual.confidence)[sent].all())
        and plan.score == usual.score
    )


def _code_if_changed(coder: SymbolCoder, known: int, value: int | None, size: int) -> int:
    if known >= 0 and not coder.rare_flag(None if value is None else value != known):
        return known
    return coder.uniform(value, size)


def predict(tables: CodecTables, state: PersonState, level: IntArray, lag: int) -> Prediction:
    """Predicts each entry `lag` frames after `state`, and the spread of its residual at `level` (G,)."""
    displacement = state.velocity * min(lag, _MAX_EXTRAPOLATION_FRAMES)
    candidates = state.values + ((displacement * np.arange(_PREDICTORS, dtype=np.int64)[:, None]) >> 1)
    candidates = np.minimum(np.maximum(candidates, -LIMIT), LIMIT)
    best = state.spread.argmin(axis=0)
    best[_ORIENTATION] = state.spread[:, _TANGENT].sum(axis=1).argmin()
    growth = _LAG_GROWTH[min(lag, len(_LAG_GROWTH) - 1)]
    spread = np.where(_is_known(state), (state.spread[best, _COLUMNS] * growth) >> 4, tables.key_spread)
    step = steps(tables.base_step, np.maximum(level, 0))
    scale, shift = tables.scale_of(spread, step)
    centre = candidates[best, _COLUMNS]
    orientation = rotation_of(centre[_ORIENTATION].tolist())
    centre[_ORIENTATION] = entries_of(orientation)
    return Prediction(centre, step, scale, shift, candidates, orientation, growth, lag)


def _is_known(state: PersonState) -> BoolArray:
    """(E,) entries from which the next frame's can be told."""
    known: BoolArray = (state.age > 0) & ~state.unseen[GROUP_OF_ENTRY]
    return known


def residuals(prediction: Prediction, target: IntArray) -> IntArray:
    """(E,) what is added to the prediction to get `target` (E,), before quantisation."""
    residual = target - prediction.centre
    turn = residual_of(prediction.orientation, rotation_of(target[_ORIENTATION].tolist()))
    residual[_TANGENT] = [round(value) for value in turn]
    return residual


# Rows that are added to each entry's own for the activity of the frame, and the ratios at which they begin, in 1/16.
_ACTIVITY_RATIOS: Final = tuple(round(16 * 2.0 ** (eighths / 8)) for eighths in (-10, -6, -2, 2, 6, 10, 14, 18))
_ACTIVITY_ROWS: Final = (-6, -4, -2, 0, 2, 4, 6, 8, 10)
_ACTIVITY_PRIOR: Final = 256 * 6


class GroupCoder:
    """Quantises and writes the residuals of a person's groups one after the other, or reads them.

    A person who begins to move does so with the whole body: how large the residuals of a frame have been so far,
    compared with what each entry's own past predicts, selects the frequency tables of the groups that follow.

    Args:
        residual: (E,) what `residuals` gives; None to read.
    """

    def __init__(
        self, coder: SymbolCoder, tables: CodecTables, prediction: Prediction, residual: IntArray | None
    ) -> None:
        self._coder, self._tables = coder, tables
        self._scale, self._shift = prediction.scale[_CODED], prediction.shift[_CODED]
        expected = np.add.reduceat(tables.mean_magnitude[self._scale], _CODED_STARTS)
        self._expected_of_group: list[int] = expected.tolist()
        self._seen = self._expected = _ACTIVITY_PRIOR
        self._candidates = None
        if residual is not None:
            self._candidates = Candidates.of_residuals(residual[_CODED], prediction.step[_CODED], self._shift)

    def code(self, group: int) -> IntArray:
        """The indices of a group's `CODED_ENTRIES`."""
        where = _CODED_SLICES[group]
        rows = _ACTIVITY_ROWS[bisect_right(_ACTIVITY_RATIOS, 16 * self._seen // self._expected)]
        scale, shift = np.minimum(np.maximum(self._scale[where] + rows, 0), SCALES - 1), self._shift[where]
        chosen = None if self._candidates is None else self._candidates.cheapest(self._tables, scale, where)
        indices = self._coder.residuals(scale, shift, chosen)
        self._expected += self._expected_of_group[group]
        magnitude = sum(abs(index) for index, low in zip(indices.tolist(), shift.tolist(), strict=True) if low <= 0)
        self._seen += min(magnitude << 8, 1 << 40)
        return indices


def decoded_values(prediction: Prediction, indices: IntArray) -> IntArray:
    """(E,) values of all entries for their quantised residuals (E,); zeros give the prediction."""
    change = indices * prediction.step
    values = np.minimum(np.maximum(prediction.centre + change, -2 * LIMIT), 2 * LIMIT)
    turn = change[_TANGENT]
    values[_ORIENTATION] = prediction.centre[_ORIENTATION]
    if turn.any():
        values[_ORIENTATION] = entries_of(rotated(prediction.orientation, turn.tolist()))
    return values


def advance(
    tables: CodecTables, state: PersonState, plan: PersonPlan, prediction: Prediction, values: IntArray, sequence: int
) -> PersonState:
    """The state after a frame whose entries have the decoded `values` (E,).

    Fast groups that were not sent move on by half their velocity, which is halved; that of unseen ones is zero.
    """
    sent = plan.sent[GROUP_OF_ENTRY]
    known_before = _is_known(state)
    error = np.abs(values - prediction.candidates)
    error[:, _TANGENT] = _orientation_errors(prediction, values)
    error = np.minimum(error, LIMIT) * 16 // prediction.growth
    divisor = np.minimum(state.age + 2, _MAX_AVERAGING_FRAMES)
    spread = np.where(sent & known_before, state.spread + (error - state.spread) // divisor, state.spread)
    spread = np.where(sent & ~known_before, tables.first_spread, spread)
    # The next update of a slow group changes it by about one step, independently of the last change.
    spread = np.where(sent & ~_FAST_ENTRY, prediction.step >> 1, spread)
    change = (values - state.values) // prediction.lag if prediction.lag else np.zeros_like(values)
    confidence = np.where(plan.sent, plan.confidence, state.confidence)
    moving = known_before & _FAST_ENTRY & ~(UNSEEN & (confidence == 0))[GROUP_OF_ENTRY]
    velocity = np.where(moving, np.where(sent, change, state.velocity >> 1), 0)
    return PersonState(
        values=np.where(sent, values, np.where(_FAST_ENTRY, prediction.candidates[1], state.values)),
        velocity=velocity,
        spread=spread,
        age=np.minimum(state.age + sent, _MAX_AGE),
        level=np.where(plan.sent, plan.level, state.level),
        confidence=confidence,
        score=plan.score,
        updated=np.where(plan.sent, sequence, state.updated),
    )


def _orientation_errors(prediction: Prediction, values: IntArray) -> IntArray:
    """(3, 3) error of each predictor around each axis of the body."""
    rotation = rotation_of(values[_ORIENTATION].tolist())
    return np.array([angles_between(row, rotation) for row in prediction.candidates[:, _ORIENTATION].tolist()])


def known_labels(state: PersonState) -> dict[str, FloatArray]:
    """Group name → its entries; unknown groups are absent, and optional ones that the person lacks."""
    known = (np.maximum.reduceat(state.age, _STARTS) > 0) & ~(OPTIONAL & state.unseen)
    values = from_fixed(state.values)
    return {name: values[where] for (name, where), has in zip(_SLICES, known.tolist(), strict=True) if has}


def known_confidence(state: PersonState) -> dict[str, float]:
    """Group name → 0…1, for the known groups."""
    return {
        name: int(state.confidence[g]) / (CONFIDENCES - 1)
        for g, name in enumerate(GROUP_NAMES)
        if state.level[g] != UNKNOWN_LEVEL
    }


# λ in squared steps a bit.  At a high rate the mean squared error s²/12 falls by a factor of 4 a bit: 2 ln 2 / 12.
LAMBDA: Final = 0.11


@dataclass(frozen=True, slots=True)
class Candidates:
    """For each of n entries three indices: the nearest, one closer to zero, and zero.

    Args:
        indices, symbols: (3, n) and what they are in the frequency tables.
        error: (3, n) squared steps; infinite where the nearest has low bits, which bypass the tables.
    """

    indices: IntArray
    symbols: IntArray
    error: Float64Array

    @classmethod
    def of_residuals(cls, residual: IntArray, step: IntArray, shift: IntArray) -> Self:
        """Of residuals (n,) before quantisation, by quantiser steps and low bits (n,) of the entries."""
        nearest = quantise(residual, step)
        indices = np.array([nearest, nearest - np.sign(nearest), np.zeros_like(nearest)])
        error = ((residual - indices * step) / step) ** 2
        error[1:, shift > 0] = np.inf
        return cls(indices, table_symbols(indices, shift), error)

    def cheapest(self, tables: CodecTables, scale: IntArray, where: slice) -> IntArray:
        """Of some entries the indices that minimise error² + λ · bits, with rows `scale` of the frequency tables."""
        cost = self.error[:, where] + LAMBDA * tables.cost_bits[scale, self.symbols[:, where]]
        chosen: IntArray = self.indices[:, where][cost.argmin(axis=0), np.arange(len(scale))]
        return chosen
