"""The roll of the camera, from how the people before it stand.

The networks are trained with cameras that are nearly level: before one that is rolled by 25°, a third of the people are
not found, and poses are worse.  Somebody who leans does not roll the camera, so the estimate is a mean over everybody
and over seconds.
"""

import math

import numpy as np

from common.arrays import Float64Array
from common.body.anatomy import KEYPOINT_INDEX
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.frame_clock import USUAL_STEP_S

_SHOULDERS, _HIPS, _ANKLES = (
    [KEYPOINT_INDEX[f"left_{name}"], KEYPOINT_INDEX[f"right_{name}"]] for name in ("shoulder", "hip", "ankle")
)
# The mean's time constant, seconds, and the least number of people, times frames, that are an estimate.
_MEAN_S, _LEAST_SEEN = 3.3, 8
# The mean's least length: below it, people lean in all directions.
_LEAST_AGREEMENT = 0.9
# Smaller rolls are left alone: the networks are trained with them.
_LEAST = np.radians(12)
# A new roll counts if it differs by more.
_CHANGE = np.radians(6)
# Nobody holds a camera at a larger roll.
_MOST = np.radians(50)


class CameraRoll:
    """The roll of one source's camera.

    Attributes:
        radians: clockwise in the frame by which upright people are turned; 0 while unknown or small.
    """

    def __init__(self) -> None:
        self.radians = 0.0
        self._mean: Float64Array = np.zeros(2)
        self._seen = 0

    def observe(self, output: PerceptionOutput, crop: CropBox, step_s: float = USUAL_STEP_S) -> None:
        """Takes one person of a frame (a batch of one), which was so much later than the last frame."""
        up = upright(output, crop)
        if up is None:
            return
        self._seen += 1
        self._mean += max(1 - math.exp(-step_s / _MEAN_S), 1 / self._seen) * (up - self._mean)
        if self._seen < _LEAST_SEEN:
            return
        found = float(np.arctan2(self._mean[0], -self._mean[1]))
        certain = np.linalg.norm(self._mean) > _LEAST_AGREEMENT and abs(found) <= _MOST
        wanted = found if certain and abs(found) >= _LEAST - (_CHANGE if self.radians else 0.0) else 0.0
        if abs(wanted - self.radians) > _CHANGE:
            self.radians = wanted


def upright(output: PerceptionOutput, crop: CropBox) -> Float64Array | None:
    """The direction (2,) in the frame, of length one, from the feet (or hips) to the shoulders, if they are located.

    A person who is nearly as wide as high, sitting or lying, says little; None is returned.
    """
    located = output.located[0].numpy()
    lower = _ANKLES if located[_ANKLES].all() else _HIPS
    if not (located[_SHOULDERS].all() and located[lower].all()):
        return None
    places = crop.to_pixels(output.keypoints_2d[0].float().numpy()).astype(np.float64)
    up = places[_SHOULDERS].mean(axis=0) - places[lower].mean(axis=0)
    length = float(np.linalg.norm(up))
    across = np.linalg.norm(places[_SHOULDERS[0]] - places[_SHOULDERS[1]])
    return up / length if length > across else None
