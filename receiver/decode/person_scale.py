"""How tall people are, and how sure their height and distance are.

One camera does not show whether a person is tall and far or small and near, nor whether the lens is long.  The
logarithms of height and distance have the standard deviations

    σ_height² = σ_b² + r_h(c)²,        σ_distance² = σ_f² + σ_b² + r_d(c)²,        r(c) = min(1, exp(a − b c)),

with σ_f of the focal length (`common.imaging.focal_length`), σ_b of the height by what is not known of the labels of
the body's shape, and c, the mean confidence of the 17 keypoints.  The remainders r are what rendered people add of whom
little is seen, fitted to 960 of them by the likelihood of Student's distribution with five degrees of freedom.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import KEYPOINT_GROUPS
from common.frames import Camera, PersonLabels
from common.imaging.focal_length import focal_sigma
from common.labels import GROUP_BY_NAME

if TYPE_CHECKING:
    from common.body.model import BodyModel

HEIGHT_REMAINDER = (-0.9, 3.8)
"""a and b of r_h."""
DISTANCE_REMAINDER = (1.0, 8.0)
"""a and b of r_d."""
# The COCO keypoints between which a person's distance is measured.
_HIPS = (11, 12)
# Labels of damaged packets may be those of nobody.
_LEAST_HEIGHT_M = 0.3


@dataclass(frozen=True, slots=True)
class PersonScale:
    """How large a person is in one frame.

    Args:
        height_m: from the soles to the crown of the bare body, upright.
        height_sigma_m: its standard deviation.
        distance_sigma_m: of the distance between the camera and the middle of the hips.
    """

    height_m: float
    height_sigma_m: float
    distance_sigma_m: float


class ScaleEstimator:
    """Estimates the scales of people."""

    def __init__(self, body: "BodyModel") -> None:
        rest: FloatArray = body.rest_vertices[:, :, 1].numpy(force=True)
        # The same two vertices in bodies of all shapes, within 2 mm.
        self._height = rest[:, rest[0].argmax()] - rest[:, rest[0].argmin()]

    def scale(self, person: PersonLabels, camera: Camera, joints_3d: FloatArray) -> PersonScale:
        """The scale of a person with keypoints (17, 3), camera space, metres."""
        height_m = self.height_m(person)
        unknown = 1 - person.confidence.get("shape", 0.0)
        body = unknown * float(np.linalg.norm(self._height[1:])) / height_m
        seen = mean_confidence(person)
        height = math.hypot(body, remainder(seen, HEIGHT_REMAINDER))
        distance = math.hypot(focal_sigma(camera), body, remainder(seen, DISTANCE_REMAINDER))
        distance_m = float(np.linalg.norm(joints_3d[_HIPS, :].mean(axis=0)))
        return PersonScale(height_m, height * height_m, distance * distance_m)

    def height_m(self, person: PersonLabels) -> float:
        """Metres from the soles to the crown of the bare body, upright."""
        shape = np.zeros(GROUP_BY_NAME["shape"].size, np.float32)
        received = person.labels.get("shape", shape)
        shape[: len(received)] = received
        return max(float(self._height[0] + shape @ self._height[1:]), _LEAST_HEIGHT_M)


def mean_confidence(person: PersonLabels) -> float:
    """The mean confidence of the keypoints, 0…1."""
    return sum(person.confidence.get(group, 0.0) for group in KEYPOINT_GROUPS) / len(KEYPOINT_GROUPS)


def remainder(seen: float, coefficients: tuple[float, float]) -> float:
    """r(c): what is added to the deviation of a logarithm if keypoints have the mean confidence `seen`."""
    start, slope = coefficients
    return math.exp(min(start - slope * seen, 0.0))
