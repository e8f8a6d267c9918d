"""The head from the landmarks of its face: nose, eyes and ears, which way it is turned, and how large it is.

Where a keypoint is beside the landmarks near it, the similarity that lays the mean head over the landmarks says.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.frames import Camera
from sender.face.actions import FaceActions
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, FaceLandmarks
from sender.perception.crop import CropBox, ray_rotation, similarity

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
    """Reads heads from the landmarks of faces.

    Args:
        template: (468, 3) landmarks on the mean head, metres, about their mean.
        weights: (468,) of the landmarks.
    """

    def __init__(self, template: FloatArray, weights: FloatArray) -> None:
        self._template = template.astype(np.float64)
        self._shares: Float64Array = weights.astype(np.float64) / weights.sum()
        middles = np.stack([self._template[list(near)].mean(axis=0) for near in _NEAR])
        self._beside: Float64Array = np.array(_PLACES_M) - middles

    @classmethod
    def load(cls) -> Self:
        """With the template of the network of facial actions; raises WeightsError where that is missing."""
        network = FaceActions.load()
        return cls(network.template.numpy(), network.weights.numpy())

    def __call__(self, face: FaceLandmarks) -> HeadPose:
        """The head of a face."""
        rotation, scale, origin = similarity(self._template, face.points, self._shares)
        middles = np.stack([face.points[list(near)].mean(axis=0) for near in _NEAR])
        keypoints = (middles + scale * self._beside @ rotation.T)[:, :2].astype(np.float32)
        middle = self._shares @ self._template
        places = (np.array(_PLACES_M) - middle) @ rotation.T
        return HeadPose(face, keypoints, places, (origin + scale * rotation @ middle)[:2], scale)
