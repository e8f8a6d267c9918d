"""A person's head: its shape from the landmarks of a second or two, and where it is in a frame.

    aligned face ─ components z ─ (z − γ E a) W ─ robust mean r, of n looks ─┐
    what `shape` says of a head, s A ────────────────────────────────────────┴─ most probable entries h

The model is linear and normal, r = m + s A + h H + ε, where m is the mean of photographed people, whose faces are not
the body's, and h has unit variance.  E is what facial actions do (`sender.face.actions`), of which γ = ½ is taken: what
they explain may be the head.  W makes the errors ε independent, of variance c + 1 / n: one look tells less than many,
and c is what none tells.

Where nose, eyes and ears of a head are, which way it is turned, and how large it is: where a keypoint is beside the
landmarks near it, the similarity that lays the mean head over the landmarks says.

Shapes: K components of an aligned face, E = 16 entries.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.frames import Camera
from common.weights.loader import load_weights
from sender.face.actions import FaceActions
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, AlignedFace, Alignment, FaceLandmarks
from sender.perception.crop import CropBox, ray_rotation

WEIGHTS_NAME = "head_reading"
_EXPRESSION_SHARE = np.float32(0.5)
"""γ: on rendered heads, the surface is nearer than with all or nothing."""
# Looks of so many seconds count as one: the errors of neighbouring frames are alike.
_LOOK_S = 0.2
# More looks are not told apart from new ones of a head that the tracker has taken for this one.
_MOST_LOOKS = 64.0
# Cosine of the angle from which on a turned face tells nothing, and pixels a metre of the photographed faces by which
# errors were measured: smaller ones tell less.
_TURNED, _SHARP_PX_PER_M = 0.6, 400.0
# Activation, root mean square over all actions, at which a face tells half of what a neutral one does.
_ACTING = 0.25
# Distance of a look from the mean, in standard deviations, root mean square, from which on it counts less.
_FAR = 1.5
# The entries that are sent follow where the head would look another: root mean square, standard deviations.
_VISIBLE = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class HeadReading:
    """The linear model of landmarks.

    Args:
        whitening: (K, K) W.
        mean: (K,) m.
        by_shape: (10, K) A.
        by_head: (E, K) H.
        steady: (K,) c.
    """

    whitening: FloatArray
    mean: FloatArray
    by_shape: FloatArray
    by_head: FloatArray
    steady: FloatArray

    @classmethod
    def load(cls) -> Self:
        """That of the package. Raises WeightsError if its file is missing or damaged."""
        stored = load_weights(WEIGHTS_NAME)
        names = ("whitening", "mean", "by_shape", "by_head", "steady")
        return cls(*(stored[name].numpy() for name in names))

    def entries(self, rest: FloatArray, looks: float, shape: FloatArray) -> FloatArray:
        """(E,) of a mean r (K,) of so many looks, for `shape` (10,)."""
        precise = self.by_head / (self.steady + 1 / looks)
        posterior = precise @ self.by_head.T + np.eye(len(precise))
        found: FloatArray = np.linalg.solve(posterior, precise @ (rest - self.mean - shape @ self.by_shape))
        return found.astype(np.float32)


@dataclass(slots=True)
class HeadMemory:
    """What is remembered of one person's head.

    Args:
        rest: (K,) the mean r.
        looks: n, of how many.
        shown: (E,) the entries that are sent; None before the first look.
    """

    rest: FloatArray
    looks: float = 0.0
    shown: FloatArray | None = None

    @classmethod
    def unknown(cls, reading: HeadReading) -> Self:
        return cls(reading.mean)

    def look(
        self, reading: HeadReading, network: FaceActions, face: AlignedFace, activations: FloatArray, step_s: float
    ) -> None:
        """Takes an aligned face that acts so, (52,) 0…1, a time after the last one."""
        z = network.components(torch.from_numpy(face.features)[None])[0]
        rest = (z - torch.from_numpy(_EXPRESSION_SHARE * activations) @ network.effects).numpy() @ reading.whitening
        # How much of the face is to be seen, by its direction and its size, 0…1.
        clarity = max((float(face.rotation[2, 2]) - _TURNED) / (1 - _TURNED), 0.0)
        clarity *= min(1.0, (face.px_per_m / _SHARP_PX_PER_M) ** 2)
        weight = min(step_s / _LOOK_S, 1.0) * clarity / (1 + np.square(activations).mean() / _ACTING**2)
        if self.looks:
            weight *= _FAR / max(_size(rest - self.rest), _FAR)
        if weight > 0:
            self.looks = min(self.looks + weight, _MOST_LOOKS)
            self.rest = self.rest + np.float32(weight / self.looks) * (rest - self.rest)

    def entries(self, reading: HeadReading, shape: FloatArray) -> FloatArray | None:
        """(E,) to send for somebody of this `shape` (10,): they stay until the head would look another."""
        if self.looks:
            now = reading.entries(self.rest, self.looks, shape)
            if self.shown is None or _size(now - self.shown) > _VISIBLE:
                self.shown = now
        return self.shown


def _size(values: FloatArray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(values).mean()))


HEAD_KEYPOINTS: Final = 5
"""Nose, left and right eye, left and right ear: the first ones of COCO's."""
FRONT: Final = 3
"""Nose and eyes."""
# The body's keypoints on its mean head, and the landmarks near each; metres from the template's middle.
_PLACES_M: Final = (
    (0.0, -0.0035, -0.0175),
    (0.0294, -0.0351, 0.0041),
    (-0.0294, -0.0351, 0.0041),
    (0.0733, -0.0158, 0.0857),
    (-0.0733, -0.0158, 0.0857),
)
_NEAR: Final = ((1, 4), LEFT_CORNERS, RIGHT_CORNERS, (356, 454, 323), (127, 234, 93))


@dataclass(frozen=True, slots=True)
class HeadPose:
    """A head in a frame.

    Args:
        face: its landmarks.
        keypoints: (5, 2) nose, eyes and ears, pixels of the frame.
        places: (5, 3) the same of the mean head, metres from its middle, in the axes of a camera that looks there.
        middle: (2,) of the landmarks, pixels.
        px_per_m: pixels of the frame that a metre of the face spans.
    """

    face: FaceLandmarks
    keypoints: FloatArray
    places: Float64Array
    middle: Float64Array
    px_per_m: float

    def in_camera(self, camera: Camera) -> FloatArray:
        """(5, 3) keypoints of the mean head that is seen so in a frame, its camera's space, metres.

        Nose and eyes are on the rays of their pixels; of ears, which are far behind, landmarks do not tell these.
        """
        left, top = (round(float(each)) for each in self.middle)
        turn = ray_rotation(CropBox(left, top, 0), camera)
        places = camera.focal_px / self.px_per_m * camera.rays(self.middle) + self.places @ turn.T
        places[:FRONT] = places[:FRONT, 2:] * camera.rays(self.keypoints[:FRONT])
        return np.asarray(places, np.float32)


class HeadPoseReader:
    """Reads heads from the landmarks of faces, which `alignment` lays over the mean head."""

    def __init__(self, alignment: Alignment) -> None:
        self._alignment = alignment
        middles = np.stack([alignment.template[list(near)].mean(axis=0) for near in _NEAR])
        self._places = np.array(_PLACES_M) - alignment.middle
        self._beside: Float64Array = self._places - middles

    @classmethod
    def load(cls) -> Self:
        """With the template of the network of facial actions; raises WeightsError where that is missing."""
        return cls(FaceActions.load().alignment())

    def __call__(self, face: FaceLandmarks) -> HeadPose:
        """The head of a face."""
        rotation, scale, middle = self._alignment.similarity(face)
        middles = np.stack([face.points[list(near)].mean(axis=0) for near in _NEAR])
        keypoints = (middles + scale * self._beside @ rotation.T)[:, :2].astype(np.float32)
        return HeadPose(face, keypoints, self._places @ rotation.T, middle[:2], scale)
