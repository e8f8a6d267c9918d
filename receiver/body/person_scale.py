"""How tall people are, and how sure their height and distance are.

One camera does not show whether a person is tall and far or small and near, nor whether the lens is long.  The
logarithms of height and distance have the standard deviations

    σ_height² = σ_b² + r_h(c)²,        σ_distance² = σ_f² + σ_b² + r_d(c)²,        r(c) = min(1, exp(a − b c)),

with σ_f of the focal length (`common.imaging.pictures`), σ_b of the height by what is not known of the labels of
the body's shape, and c, the mean confidence of the 17 keypoints.  The remainders r are what rendered people add of whom
little is seen, fitted to 960 of them by the likelihood of Student's distribution with five degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import KEYPOINT_GROUPS
from common.frames import Camera, PersonLabels
from common.imaging.pictures import focal_sigma

if TYPE_CHECKING:
    from common.body.model import BodyModel

HEIGHT_REMAINDER = (-0.9, 3.8)
"""a and b of r_h."""
DISTANCE_REMAINDER = (1.0, 8.0)
"""a and b of r_d."""
# The COCO keypoints between which a person's distance is measured.
_HIPS = slice(11, 13)
# Labels of damaged packets may be those of nobody.
_LEAST_HEIGHT_M = 0.3
_NOTHING = np.zeros(0, np.float32)


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
        self._deviation_m = float(np.linalg.norm(self._height[1:]))

    def scale(self, person: PersonLabels, camera: Camera, joints_K3: FloatArray, seen: float) -> PersonScale:
        """The scale of a person before a camera.

        Args:
            joints_K3: (17, 3) keypoints in camera space, metres.
            seen: mean confidence of the keypoints, 0…1.
        """
        height_m = self.height_m(person)
        body = (1 - person.confidence.get("shape", 0.0)) * self._deviation_m / height_m
        height = math.hypot(body, remainder(seen, HEIGHT_REMAINDER))
        distance = math.hypot(focal_sigma(camera), body, remainder(seen, DISTANCE_REMAINDER))
        hips = zip(*joints_K3[_HIPS].tolist(), strict=True)
        return PersonScale(height_m, height * height_m, distance * math.hypot(*(sum(each) / 2 for each in hips)))

    def height_m(self, person: PersonLabels) -> float:
        """Metres from the soles to the crown of the bare body, upright."""
        shape = person.labels.get("shape", _NOTHING)
        return max(float(self._height[0] + shape @ self._height[1 : 1 + len(shape)]), _LEAST_HEIGHT_M)


def keypoint_confidence(people: Sequence[PersonLabels]) -> FloatArray:
    """(B, 17) of the keypoints of B people, 0…1."""
    rows = [[person.confidence.get(group, 0.0) for group in KEYPOINT_GROUPS] for person in people]
    return np.array(rows, np.float32)


def remainder(seen: float, coefficients: tuple[float, float]) -> float:
    """r(c): what is added to the deviation of a logarithm if keypoints have the mean confidence `seen`."""
    start, slope = coefficients
    return math.exp(min(start - slope * seen, 0))
