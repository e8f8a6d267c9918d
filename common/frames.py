"""Data that the stages exchange for each frame: frozen dataclasses without protobuf or torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from common.arrays import FloatArray

IDENTITIES = 256
"""Number of distinct identities within a session."""
NEAR_M = 0.05
"""Near plane of a camera, metres: points closer than this are not in its image."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with its principal point at the centre of the image.

    Args:
        width: image width in pixels.
        height: image height in pixels.
        focal_px: focal length in pixels.
    """

    width: int
    height: int
    focal_px: float

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) points in camera space, metres → (N, 2) pixels from the upper left corner of the image.

        Points nearer than `NEAR_M` or behind the camera are projected as if at that depth: the result is finite but
        meaningless.
        """
        depth = np.maximum(points[:, 2:], NEAR_M)
        return np.asarray(self.focal_px * points[:, :2] / depth + [self.width / 2, self.height / 2], np.float32)


@dataclass(frozen=True, slots=True)
class PersonLabels:
    """One person's semantic labels in one frame.

    Args:
        identity: stable from frame to frame within a session, 0…255.
        score: the sender's confidence that this is a person, 0…1.
        labels: group name → entries in units of standard deviations (a prefix of the group or all of it).
        sigma: group name → standard deviation of each entry; exists only at the sender, not transmitted.
        confidence: group name → 0…1, transmitted in 4 bits.
    """

    identity: int
    score: float
    labels: Mapping[str, FloatArray]
    sigma: Mapping[str, FloatArray] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelFrame:
    """All people of one captured frame, as labels.

    Args:
        sequence: sequence number, from 0 within a session; never reused.
        source: file name or device of the frame.
        captured_at: seconds since the epoch on the sender's clock.
        camera: the camera of the frame.
        people: most prominent first.
    """

    sequence: int
    source: str
    captured_at: float
    camera: Camera
    people: tuple[PersonLabels, ...]
