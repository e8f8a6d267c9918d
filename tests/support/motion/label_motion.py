"""Synthetic label motion for tests of the codec: smooth, seeded, with constant shape and colours."""

import numpy as np

from common.arrays import FloatArray
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame, EncodedFrame
from common.codec.person import entries_of, rotation_of
from common.codec.tables import UNIT, CodecTables, to_fixed
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUP_BY_NAME, GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, group_slices, split

CAMERA = Camera(640, 480, 600.0)
MODEL_HASH = b"bodywire"
FINE_RHO = dict.fromkeys(GROUP_NAMES, 0.2)
"""ρ of every group on a link with spare capacity."""


def moving_labels(frames: int, seed: int, jitter: float = 0.02) -> FloatArray:
    """(frames, LABEL_SIZE): unit-variance second-order motion with a time constant of a third of a second.

    The orientation entries are those of a rotation matrix.
    """
    rng = np.random.default_rng(seed)
    position, velocity = rng.normal(size=LABEL_SIZE), np.zeros(LABEL_SIZE)
    rows = []
    for _ in range(frames):
        velocity = 0.9 * velocity - 0.02 * position + 0.06 * rng.normal(size=LABEL_SIZE)
        position = position + velocity
        rows.append(position + jitter * rng.normal(size=LABEL_SIZE))
    labels = np.array(rows)
    for name, where in group_slices().items():
        if not GROUP_BY_NAME[name].fast:
            labels[:, where] = labels[0, where] + 0.005 * rng.normal(size=(frames, where.stop - where.start))
    return np.array([with_rotation(row) for row in labels.astype(np.float32)])


def with_rotation(vector: FloatArray) -> FloatArray:
    """Labels (LABEL_SIZE,) whose orientation entries are those of the rotation that they decode to."""
    result = vector.copy()
    result[:6] = np.array(entries_of(rotation_of(to_fixed(vector)[:6].tolist()))) / UNIT
    return result


def person(vector: FloatArray, identity: int = 0) -> PersonLabels:
    """A person with all label groups but the optional ones."""
    labels = {name: values for name, values in split(vector).items() if name not in OPTIONAL_GROUPS}
    return PersonLabels(identity=identity, score=0.9, labels=labels)


def frame_of(sequence: int, *people: PersonLabels, source: str = "clip.mp4") -> LabelFrame:
    """A frame of a 30 fps clip."""
    return LabelFrame(sequence, source, 1_800_000_000.0 + sequence / 30, CAMERA, people)


def clip(frames: int, seed: int, people: int = 1) -> list[LabelFrame]:
    """A clip of `frames` frames with so many `people`."""
    motions = [moving_labels(frames, seed + identity) for identity in range(people)]
    return [frame_of(t, *(person(motion[t], i) for i, motion in enumerate(motions))) for t in range(frames)]


def transmit(
    frames: list[LabelFrame], rho: dict[str, float], lag: int = 2, tables: CodecTables | None = None
) -> list[tuple[EncodedFrame, DecodedFrame]]:
    """Encodes and decodes a clip; each acknowledgement arrives `lag` frames late."""
    encoder, decoder = FrameCodec(MODEL_HASH, tables), FrameCodec(MODEL_HASH, tables)
    results = []
    for frame in frames:
        encoder.acknowledge(frame.sequence - lag)
        encoded = encoder.encode(frame, rho)
        results.append((encoded, decoder.decode(encoded.payload, frame.sequence)))
    return results
