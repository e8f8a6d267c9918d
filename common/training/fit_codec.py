"""Fits the codec's frequency tables and quantiser steps to label sequences of the captured motion clips.

Every training clip occurs twice: as captured, and with the jitter that an estimator adds to each label and that the
sender's low-pass filter leaves.

The optional groups (faces, eyes and fingers) come from the statistics of the expression space: no sequence is coded.

--importance takes the output of `python -m sender.train.importance` and sets the steps so that the quantisation of
every entry moves the surface by the same distance.

New tables are a new codec: packets that were coded with other tables cannot be decoded.

Examples:
  python -m common.training.fit_codec --importance importance.json --out /tmp/tables
"""

import json
import math
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.faces import load_expression_tensors
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.codec.person import ENTRIES, entries_of, residual_of, rotated, rotation_of
from common.codec.range_coder import SymbolWriter, table_symbols
from common.codec.tables import (
    ALPHABET,
    DATA_FOLDER,
    LEVELS,
    RATE_DISTORTION_FILE,
    SCALES,
    SYMBOLS,
    UNIT,
    CodecTables,
    save,
    steps,
    to_fixed,
    to_frequencies,
)
from common.errors import SourceError, exit_code_of
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.command_line import parser_of
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, OPTIONAL_GROUPS, concatenate, group_slices, split
from common.synthetic.motion.poses import Clip, clips

# A Laplace mixture, in units of the tracked mean magnitude: a core, and tails for the start of a motion.
_CORE_WEIGHTS: Final = (0.80, 0.17, 0.03)
_CORE_SCALES: Final = (0.75, 1.7, 4.0)
_PRIOR_COUNT: Final = 300.0
# The quantiser weighs bits by the tables that are fitted to what it chooses.
_ROUNDS: Final = 2
# ρ levels at which rate and distortion are measured; those between are interpolated.
_MEASURED_LEVELS: Final = (0, 3, 6, 9, 12, 15)

Figures = dict[str, dict[str, list[float]]]

# Steps at ρ = 0, in σ, of entries without a measured displacement.
_DEFAULT_STEP_SIGMA: Final = {"root": 0.006, "shape": 0.03, "appearance": 0.05, "surface": 0.05, "head_shape": 0.05}
_FAST_STEP_SIGMA: Final = 0.02

# (ρ, age of the reference in frames) at which symbols are counted.
_SETTINGS: Final = ((0.1, 1), (0.3, 2), (0.5, 3), (0.7, 2))

# Mean displacement of the surface by the quantisation of an entry at ρ = 0.
_STEP_MM: Final = 0.25
_STEP_SIGMA_BOUNDS: Final = (0.001, 0.1)
_PROBED_FRAMES: Final = 24
_PROBE_SIGMA: Final = 0.1
# Displacement of the skin that an optional group moves, by the quantisation of an entry at ρ = 0, mm.  Lids and gaze
# have their own step, in σ.
_OPTIONAL_STEP_MM: Final = {"face": 0.2, "left_fingers": 1.0, "right_fingers": 1.0}
_EYES_STEP_SIGMA: Final = 0.15
_MOST_OPTIONAL_STEP_SIGMA: Final = 0.5


_JITTER_SIGMAS: Final = (0.0, 0.04)
# Gain of the low-pass filter at rest, at 30 frames a second.
_SMOOTHING_GAIN: Final = 0.2
_DISTANCE_M: Final = 3.8
_MIN_DISTANCE_M: Final = 1.2
_SEED: Final = 3


def label_clip(space: LabelSpace, clip: Clip, jitter_sigma: float, generator: np.random.Generator) -> FloatArray:
    """(T, LABEL_SIZE) labels of a clip: random shape, colours and clothes, starting 3.8 m from the camera."""
    frames = len(clip.rotation_vectors)
    place = clip.root_translation - clip.root_translation[:1] + np.array([0.0, 0.0, _DISTANCE_M], dtype=np.float32)
    place[:, 2] = np.maximum(place[:, 2], _MIN_DISTANCE_M)
    shape = generator.normal(size=(1, 10)).repeat(frames, axis=0)
    curl = np.clip(0.35 + 0.01 * np.cumsum(generator.normal(size=(frames, 4)), axis=0), 0.0, 1.2)
    parameters = BodyParameters(
        rotations=axis_angle_to_matrix(torch.from_numpy(clip.rotation_vectors)),
        curl=torch.from_numpy(curl).float(),
        shape=torch.from_numpy(shape).float(),
        translation=torch.from_numpy(place).float(),
    )
    labels = space.encode(parameters).numpy()
    for constant in (group_slices()[name] for name in ("appearance", "surface", "head_shape")):
        labels[:, constant] = generator.normal(size=(1, constant.stop - constant.start))
    optional = labels.shape[1] - optional_statistics()[0].size
    labels[:, :optional] += jitter_sigma * _smooth_noise((frames, optional), generator)
    return labels.astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], generator: np.random.Generator) -> Float64Array:
    """(T, E) noise of unit variance behind a first-order low-pass filter over T."""
    noise = generator.normal(size=shape)
    for t in range(1, len(noise)):
        noise[t] = (1 - _SMOOTHING_GAIN) * noise[t - 1] + math.sqrt(1 - (1 - _SMOOTHING_GAIN) ** 2) * noise[t]
    return noise


def label_sequences() -> tuple[FloatArray, IntArray]:
    """Labels (T, LABEL_SIZE) and clip numbers (T,) of all training clips at 30 fps."""
    space, generator = LabelSpace.load(), np.random.default_rng(_SEED)
    parts = [label_clip(space, clip, jitter, generator) for jitter in _JITTER_SIGMAS for clip in clips("train")]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def parametric_frequencies() -> IntArray:
    """(SCALES, SYMBOLS) Laplace mixtures whose mean magnitude is 2^(−6 + i/8) steps, each summing to 2¹⁶."""
    edges = np.arange(ALPHABET + 1) + 0.5
    rows = []
    for i in range(SCALES):
        mean = 2.0 ** (-6 + i / 8)
        tail = sum(
            weight * np.exp(-edges / (mean * scale)) for weight, scale in zip(_CORE_WEIGHTS, _CORE_SCALES, strict=True)
        )
        one_side = (np.concatenate([tail[:-1] - tail[1:], tail[-1:]])) / 2
        inner = one_side[:-1]
        rows.append(np.concatenate([inner[::-1], [1 - tail[0]], inner, [2 * one_side[-1]]]))
    return to_frequencies(np.array(rows))


def default_tables() -> CodecTables:
    """Tables without any data: parametric frequencies and default steps."""
    step_sigma = np.zeros(LABEL_SIZE)
    for name, where in group_slices().items():
        step_sigma[where] = _DEFAULT_STEP_SIGMA.get(name, _FAST_STEP_SIGMA)
    ratios = 2.0 ** (-6 + (np.arange(SCALES - 1) + 0.5) / 8)
    return CodecTables(
        frequencies=parametric_frequencies(),
        thresholds=np.rint(ratios * (1 << 12)).astype(np.int64),
        base_step=np.rint(step_sigma * UNIT).astype(np.int64),
        key_spread=np.full(LABEL_SIZE, round(0.8 * UNIT), dtype=np.int64),
        first_spread=np.full(LABEL_SIZE, round(0.1 * UNIT), dtype=np.int64),
    )


def equal_displacement_steps(mm_per_sigma: Float64Array) -> Float64Array:
    """(LABEL_SIZE,) steps at ρ = 0, in σ, each of which moves the surface by 0.25 mm, within bounds.

    At a given mean displacement this needs the fewest bits: entries with little effect on the surface get few.
    """
    return np.asarray(np.clip(_STEP_MM / np.maximum(mm_per_sigma, 1e-6), *_STEP_SIGMA_BOUNDS), np.float64)


def with_importance(tables: CodecTables, mm: Float64Array) -> CodecTables:
    """Steps of equal surface displacement.

    Args:
        mm: (LABEL_SIZE,) per σ; 0 for entries without effect on the surface, which keep their step.
    """
    fixed = np.rint(equal_displacement_steps(mm) * UNIT).astype(np.int64)
    return replace(tables, base_step=np.where(mm > 0, fixed, tables.base_step))


def with_sequences(tables: CodecTables, labels: FloatArray, clip: IntArray) -> CodecTables:
    """Tables with the spreads and symbol frequencies of the sequences, the parametric family as the prior."""
    fixed = to_fixed(labels)
    consecutive = np.flatnonzero(clip[1:] == clip[:-1])
    upright = np.zeros_like(fixed[0])
    tables = replace(
        tables,
        key_spread=_as_spread(np.abs([_residual(upright, row) for row in fixed]).mean(axis=0)),
        first_spread=_as_spread(np.abs([_residual(fixed[t], fixed[t + 1]) for t in consecutive]).mean(axis=0)),
    )
    prior = tables.probabilities * _PRIOR_COUNT
    for _ in range(_ROUNDS):
        counts = _count_symbols(tables, labels, clip)
        symmetric = counts.astype(np.float64)
        symmetric[:, :-1] = (counts[:, :-1] + counts[:, -2::-1]) / 2
        tables = replace(tables, frequencies=to_frequencies(symmetric + prior))
    return tables


def _residual(before: IntArray, after: IntArray) -> IntArray:
    """(E,) what the codec adds to `before` to get `after`; orientations as residual rotations."""
    change = after - before
    turn = residual_of(rotation_of(before[:ENTRIES].tolist()), rotation_of(after[:ENTRIES].tolist()))
    change[:ENTRIES] = [*map(round, turn), 0, 0, 0]
    return change


def _as_spread(magnitudes: Float64Array) -> IntArray:
    """(E,) mean magnitudes as integers, none too small or too large."""
    return np.asarray(np.clip(np.rint(magnitudes), UNIT // 256, 4 * UNIT), np.int64)


def with_optional(tables: CodecTables) -> CodecTables:
    """Tables with the steps and spreads of the optional groups, which come last."""
    sizes, changes, mm = optional_statistics()
    step = np.full(len(mm), _EYES_STEP_SIGMA)
    for name, where in _optional_slices().items():
        if name in _OPTIONAL_STEP_MM:
            step[where] = np.minimum(_OPTIONAL_STEP_MM[name] / mm[where], _MOST_OPTIONAL_STEP_SIGMA)
    own = np.rint(step * UNIT).astype(np.int64), _as_spread(sizes * UNIT), _as_spread(changes * UNIT)
    names = "base_step", "key_spread", "first_spread"
    columns = {name: np.append(getattr(tables, name)[: -len(mm)], last) for name, last in zip(names, own, strict=True)}
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


class _CountingWriter(SymbolWriter):
    """Counts the coded symbols of each row."""

    def __init__(self, tables: CodecTables, counts: IntArray) -> None:
        super().__init__(tables)
        self._counts = counts

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        values = super().residuals(scale, shift, values)
        np.add.at(self._counts, (scale, table_symbols(values, shift)), 1)
        return values


class _CountingCodec(FrameCodec):
    def __init__(self, tables: CodecTables, counts: IntArray) -> None:
        super().__init__(bytes(8), tables)
        self._counts, self._shared_tables = counts, tables

    def _writer(self) -> SymbolWriter:
        return _CountingWriter(self._shared_tables, self._counts)


def _count_symbols(tables: CodecTables, labels: FloatArray, clip: IntArray) -> IntArray:
    """(SCALES, SYMBOLS) occurrences of each symbol, over all of `_SETTINGS`."""
    counts = np.zeros((SCALES, SYMBOLS), dtype=np.int64)
    for rho, lag in _SETTINGS:
        for name in np.unique(clip):
            deque(encode_clip(_CountingCodec(tables, counts), labels[clip == name], rho, lag), maxlen=0)
    return counts


def encode_clip(codec: FrameCodec, labels: FloatArray, rho: float, lag: int) -> Iterator[EncodedFrame]:
    """Encodes one person's clip (T, LABEL_SIZE) at 30 fps, with ρ for every group and acks `lag` frames later.

    Optional groups are not encoded.
    """
    for sequence, vector in enumerate(labels):
        groups = {name: values for name, values in split(vector).items() if name not in OPTIONAL_GROUPS}
        people = (PersonLabels(identity=0, score=1.0, labels=groups),)
        frame = LabelFrame(sequence, "clip", sequence / 30, Camera(640, 480, 600.0), people)
        if sequence >= lag:
            codec.acknowledge(sequence - lag)
        yield codec.encode(frame, dict.fromkeys(GROUP_NAMES, rho))


def combined_displacement(surface_mm: Float64Array, labels: FloatArray) -> Float64Array:
    """(LABEL_SIZE,) root mean square of the displacements of the surface and of the joints, mm per σ.

    The surface alone would neglect the head, which is a small part of it and has 5 of the 17 joints.

    Args:
        surface_mm: (LABEL_SIZE,) of the surface, from the table of importance.
        labels: (T, LABEL_SIZE) of which some are perturbed.
    """
    chosen = labels[:: max(len(labels) // _PROBED_FRAMES, 1)]
    space, body = LabelSpace.load(), BodyModel.load()
    before = _joints(space, body, chosen)
    joints_mm = np.zeros(LABEL_SIZE)
    for entry in range(LABEL_SIZE):
        changed = np.stack([_perturbed(row, entry) for row in chosen])
        joints_mm[entry] = np.linalg.norm(_joints(space, body, changed) - before, axis=-1).mean() * 1e3 / _PROBE_SIGMA
    turned = np.arange(LABEL_SIZE) < 3
    # The table has the entries of the orientation matrix; turns move the surface about as far as the joints.
    surface = np.where(turned, joints_mm, surface_mm)
    return np.sqrt((surface**2 + joints_mm**2) / 2)


def _perturbed(labels: FloatArray, entry: int) -> FloatArray:
    """Labels (E,) whose coded `entry` is off by a tenth: for the first three a turn around an axis of the body."""
    changed = labels.copy()
    if entry < 3:
        turn = [round(_PROBE_SIGMA * UNIT) * (axis == entry) for axis in range(3)]
        turned = rotated(rotation_of(to_fixed(labels)[:ENTRIES].tolist()), turn)
        changed[:ENTRIES] = np.array(entries_of(turned)) / UNIT
    else:
        changed[entry] += _PROBE_SIGMA
    return changed


@torch.inference_mode()
def _joints(space: LabelSpace, body: BodyModel, labels: FloatArray) -> FloatArray:
    """(T, 17, 3) joints of labels (T, LABEL_SIZE), metres."""
    vertices = body(space.decode(torch.from_numpy(labels))).vertices
    return np.asarray(body.coco_keypoints(vertices).numpy())


def measure_rate_distortion(tables: CodecTables, labels: FloatArray, clip: IntArray) -> Figures:
    """Bits and millimetres of each group at each level, over every fourth clip.

    The finest step of an entry counts as the displacement that it stands for, also where it is bounded.
    """
    mm = _STEP_MM / tables.base_step
    bits, error = (np.zeros((len(GROUP_NAMES), len(_MEASURED_LEVELS))) for _ in range(2))
    for column, level in enumerate(_MEASURED_LEVELS):
        frames = 0
        for name in np.unique(clip)[::4]:
            rows = labels[clip == name]
            codec, decoder = FrameCodec(bytes(8), tables), FrameCodec(bytes(8), tables)
            for encoded, row in zip(encode_clip(codec, rows, level / (LEVELS - 1), 2), rows, strict=True):
                got = decoder.decode(encoded.payload, encoded.sequence).frame.people[0].labels
                change = mm * _residual(to_fixed(row), to_fixed(concatenate(got)))
                for g, (group, where) in enumerate(group_slices().items()):
                    bits[g, column] += 8 * encoded.bytes_by_group.get(group, 0.0)
                    error[g, column] += np.sqrt((change[where] ** 2).sum())
            frames += len(rows)
        bits[:, column] /= frames
        error[:, column] /= frames
    for g, (rates, millimetres) in optional_figures(tables, _MEASURED_LEVELS).items():
        bits[g], error[g] = rates, millimetres
    return {
        what: {
            name: np.interp(np.arange(LEVELS), _MEASURED_LEVELS, row).round(3).tolist()
            for name, row in zip(GROUP_NAMES, measured, strict=True)
        }
        for what, measured in (("bits", bits), ("mm", error))
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m common.training.fit_codec"
    parser = parser_of(program, __doc__)
    parser.add_argument("--importance", type=Path, required=True, help="output of python -m sender.train.importance")
    parser.add_argument("--out", type=Path, default=DATA_FOLDER, help="folder to write to (default: the package's)")
    options = parser.parse_args(arguments)
    return exit_code_of(program, lambda: _fit(options.importance, options.out))


def _fit(importance: Path, out: Path) -> None:
    try:
        surface_mm = np.array(json.loads(importance.read_text())["mm_per_sigma"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{importance}: not the output of sender.train.importance") from error
    labels, clip = label_sequences()
    mm = combined_displacement(surface_mm, labels)
    tables = with_optional(with_sequences(with_importance(default_tables(), mm), labels, clip))
    figures = measure_rate_distortion(tables, labels, clip)
    fitted_on = f"steps from {importance.name}; {len(labels)} frames of {len(np.unique(clip))} clips"
    save(tables, out, fitted_on)
    (out / RATE_DISTORTION_FILE.name).write_text(json.dumps(figures) + "\n")
    print(f"wrote {out / 'tables.npz'}, sha256 {tables.digest.hex()[:16]}…")


if __name__ == "__main__":
    sys.exit(main())
