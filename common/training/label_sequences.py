"""Label sequences of the captured motion clips, to fit the codec's tables to.

Every training clip occurs twice: as captured, and with the jitter that an estimator adds to each label and that the
sender's low-pass filter leaves.
"""

import math
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.labels import group_slices
from common.synthetic.motion.motion_table import Clip, clips

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
    for constant in (group_slices()[name] for name in ("appearance", "surface")):
        labels[:, constant] = generator.normal(size=(1, constant.stop - constant.start))
    return (labels + jitter_sigma * _smooth_noise(labels.shape, generator)).astype(np.float32)


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
