"""Synthetic label motion for the codec's tests: smooth, seeded, with stable shape and colours."""

import numpy as np

from common.arrays import FloatArray
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUP_BY_NAME, LABEL_SIZE, group_slices, split

CAMERA = Camera(640, 480, 600.0)
MODEL_HASH = b"bodywire"


def moving_labels(frames: int, seed: int, jitter: float = 0.02) -> FloatArray:
    """(frames, LABEL_SIZE): unit-variance second-order motion with a time constant of a third of a second."""
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
    return labels.astype(np.float32)


def person(vector: FloatArray, identity: int = 0) -> PersonLabels:
    """One person with all groups."""
    return PersonLabels(identity=identity, score=0.9, labels=split(vector))


def frame_of(sequence: int, *people: PersonLabels, source: str = "clip.mp4") -> LabelFrame:
    """A frame at 30 fps."""
    return LabelFrame(sequence, source, 1_800_000_000.0 + sequence / 30, CAMERA, people)


def clip(frames: int, seed: int, people: int = 1) -> list[LabelFrame]:
    """A whole clip."""
    motions = [moving_labels(frames, seed + identity) for identity in range(people)]
    return [frame_of(t, *(person(motion[t], i) for i, motion in enumerate(motions))) for t in range(frames)]
