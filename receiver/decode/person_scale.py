"""How tall people are, and how sure their height and distance are.

One camera does not show whether a person is tall and far or small and near, nor whether the lens is long.  The
logarithms of height and distance have the standard deviations

    σ_height² = σ_b² + r_h(c)²,        σ_distance² = σ_f² + σ_b² + r_d(c)²,        r(c) = min(1, exp(a − b c)),

with σ_f of the focal length (`common.imaging.focal_length`), σ_b of the height by what is not known of the labels of
the body's shape, and c, the mean confidence of the 17 keypoints.  The remainders r are what rendered people add of whom
little is seen, fitted to 960 of them by the likelihood of Student's distribution with five degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import Float64Array, FloatArray
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

    def scales(
        self, people: Sequence[PersonLabels], cameras: Sequence[Camera], joints_BK3: FloatArray, seen_B: FloatArray
    ) -> list[PersonScale]:
        """The scales of B people before their cameras.

        Args:
            joints_BK3: (B, 17, 3) keypoints in camera space, metres.
            seen_B: (B,) mean confidence of their keypoints, 0…1.
        """
        heights_m = self.heights_m(people)
        unknown = 1 - np.array([person.confidence.get("shape", 0.0) for person in people])
        body = unknown * float(np.linalg.norm(self._height[1:])) / heights_m
        lens = np.array([focal_sigma(camera) for camera in cameras])
        height = np.hypot(body, remainder(seen_B, HEIGHT_REMAINDER))
        distance = np.hypot(np.hypot(lens, body), remainder(seen_B, DISTANCE_REMAINDER))
        distance_m = np.linalg.norm(joints_BK3[:, _HIPS].mean(axis=1), axis=1)
        rows = np.stack([heights_m, height * heights_m, distance * distance_m], axis=1).tolist()
        return [PersonScale(*row) for row in rows]

    def heights_m(self, people: Sequence[PersonLabels]) -> Float64Array:
        """(B,) metres from the soles to the crown of the bare body, upright."""
        shape = np.zeros((len(people), GROUP_BY_NAME["shape"].size), np.float32)
        for row, person in zip(shape, people, strict=True):
            received = person.labels.get("shape", row)
            row[: len(received)] = received
        return np.asarray(np.maximum(self._height[0] + shape @ self._height[1:], _LEAST_HEIGHT_M), np.float64)


def keypoint_confidence(people: Sequence[PersonLabels]) -> FloatArray:
    """(B, 17) of the keypoints of B people, 0…1."""
    rows = [[person.confidence.get(group, 0.0) for group in KEYPOINT_GROUPS] for person in people]
    return np.array(rows, np.float32)


def remainder(seen: FloatArray, coefficients: tuple[float, float]) -> FloatArray:
    """r(c): what is added to the deviation of a logarithm if keypoints have the mean confidence `seen`."""
    start, slope = coefficients
    return np.asarray(np.exp(np.minimum(start - slope * seen, 0)), np.float32)
