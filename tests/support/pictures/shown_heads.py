"""The mean head before a camera, as landmarks show it."""

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.frames import Camera
from sender.face.actions import FaceActions
from sender.face.landmarks import FaceLandmarks


def landmarks(points: FloatArray | Float64Array, score: float = 0.95) -> FaceLandmarks:
    """A face with these points (468, 3), whose eyes were not read."""
    eyes = np.zeros((2, 16, 2), np.float32), np.zeros((2, 5, 2), np.float32)
    return FaceLandmarks(np.asarray(points, np.float32), *eyes, score)


def shown_head(camera: Camera, place_m: tuple[float, float, float], turn: Float64Array | None = None) -> FaceLandmarks:
    """The landmarks of the mean head.

    Args:
        place_m: of the template's middle in camera space.
        turn: (3, 3) of the head in the camera's axes; None where it faces along them.
    """
    points = FaceActions.load().template.double().numpy() @ (np.eye(3) if turn is None else turn).T + place_m
    pixels = camera.project(points.astype(np.float32))
    depth = (points[:, 2:] - place_m[2]) * camera.focal_px / place_m[2]
    return landmarks(np.concatenate([pixels, depth], axis=1))
