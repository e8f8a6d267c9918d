"""Landmarks of one face: 468 points and, of each eye, lids and iris, by MediaPipe's networks.

    keypoints of the head, or the last landmarks ─ region ─ crop ─ face ─ 468 points, score
                                                                    └─ eyes ─ crops ─ iris ─ lids, iris

Kartynnik et al., *Real-time facial surface geometry from monocular video on mobile GPUs*, 2019; Ablavatski et al.,
*Real-time pupil tracking from monocular video for digital puppetry*, 2020.  Regions are cut as these networks were
trained: 1.5 times the box of the points, 2.3 times the width of an eye, upright by the line of the eyes; the person's
left eye is mirrored.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.weights.graph import CompiledGraph
from common.weights.landmark_networks import load_network
from sender.perception.inference.crop import CropBox

POINTS = 468
LID_POINTS, IRIS_POINTS = 16, 5
"""Points of an eye: lids, the lower one from outer to inner corner, then the upper one; iris, its centre first."""
RIGHT_CORNERS, LEFT_CORNERS = (33, 133), (263, 362)
"""Outer and inner corners of the eyes among the points."""
_FACE_PX, _EYE_PX = 192, 64
_FACE_MARGIN, _EYE_MARGIN = 1.5, 2.3


@dataclass(frozen=True, slots=True)
class FaceLandmarks:
    """What one picture shows of a face; positions in pixels of the frame.

    Args:
        points: (468, 3); z grows away from the camera, in the unit of x and y, from the mean of the face.
        lids: (2, 16, 2) of the left and the right eye.
        iris: (2, 5, 2) likewise.
        score: probability of a face, 0…1.
        newest: the eye that was read, 0 or 1, where the other is that of the frame before.
    """

    points: FloatArray
    lids: FloatArray
    iris: FloatArray
    score: float
    newest: int = 0

    @property
    def array(self) -> FloatArray:
        """(510, 3): the points, then lids and iris of the left and the right eye, whose z is 0."""
        eyes = np.concatenate([self.lids, self.iris], axis=1).reshape(-1, 2)
        return np.concatenate([self.points, np.pad(eyes, ((0, 0), (0, 1)))]).astype(np.float32)

    @classmethod
    def from_array(cls, array: FloatArray) -> Self:
        """The landmarks of an `array`, with a score of 1."""
        eyes = array[POINTS:, :2].reshape(2, LID_POINTS + IRIS_POINTS, 2)
        return cls(array[:POINTS], eyes[:, :LID_POINTS], eyes[:, LID_POINTS:], 1.0)

    @property
    def roll(self) -> float:
        """Radians by which the line of the eyes is turned clockwise in the frame."""
        x, y = self.points[LEFT_CORNERS[0], :2] - self.points[RIGHT_CORNERS[0], :2]
        return math.atan2(y, x)

    @property
    def region(self) -> CropBox:
        """Where the face is to be looked for in the next frame."""
        return _around(self.points[:, :2], self.roll, _FACE_MARGIN)


class FaceReader:
    """The two networks; threads may call it at once."""

    def __init__(self, face: CompiledGraph, iris: CompiledGraph) -> None:
        self._face, self._iris = face, iris

    @classmethod
    def load(cls) -> Self | None:
        """None where the networks are missing."""
        face, iris = load_network("face_landmark"), load_network("iris_landmark")
        return None if face is None or iris is None else cls(face, iris)

    def read(
        self, image: Image, region: CropBox, least_score: float = 0.0, last: FaceLandmarks | None = None
    ) -> FaceLandmarks | None:
        """The landmarks of a face in a region of a frame (H, W, 3), RGB; None if its score is less.

        Args:
            last: of the frame before, from which one eye is taken along: the eyes are read by turns.
        """
        points, logit = self._face(_cut(image, region, _FACE_PX))
        score = float(logit.sigmoid())
        if score < least_score:
            return None
        units: FloatArray = (points.view(POINTS, 3) / _FACE_PX).numpy()
        face = np.empty((POINTS, 3), np.float32)
        face[:, :2], face[:, 2] = region.to_pixels(units[:, :2]), units[:, 2] * region.side
        roll = math.atan2(*(face[LEFT_CORNERS[0], 1::-1] - face[RIGHT_CORNERS[0], 1::-1]))
        newest = 0 if last is None else 1 - last.newest
        eyes = np.empty((2, LID_POINTS + IRIS_POINTS, 2), np.float32)
        for eye, corners in enumerate((list(LEFT_CORNERS), list(RIGHT_CORNERS))):
            if last is None or eye == newest:
                eyes[eye] = self._eye(image, _around(face[corners, :2], roll, _EYE_MARGIN), mirrored=eye == 0)
            else:
                moved = (face[corners, :2] - last.points[corners, :2]).mean(axis=0)
                eyes[eye] = np.concatenate([last.lids[eye], last.iris[eye]]) + moved
        return FaceLandmarks(face, eyes[:, :LID_POINTS], eyes[:, LID_POINTS:], score, newest)

    def _eye(self, image: Image, region: CropBox, *, mirrored: bool) -> FloatArray:
        """(21, 2) lids and iris, pixels of the frame."""
        crop = _cut(image, region, _EYE_PX)
        lids, iris = self._iris(crop.flip(2) if mirrored else crop)
        marks = torch.cat([lids.view(-1, 3)[:LID_POINTS, :2], iris.view(-1, 3)[:, :2]])
        units: FloatArray = (marks / _EYE_PX).numpy()
        if mirrored:
            units[:, 0] = 1 - units[:, 0]
        return region.to_pixels(units)


def _cut(image: Image, region: CropBox, size: int) -> torch.Tensor:
    return torch.from_numpy(region.cut(image, size))[None].float() / 255


def _around(points: FloatArray, roll: float, margin: float) -> CropBox:
    """The square around points (N, 2), which is turned as they are."""
    centre = points.mean(axis=0)
    axes = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    turned = (points - centre) @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    middle, half = centre + axes @ ((low + high) / 2), (high - low).max() / 2
    return CropBox.around([*(middle - half), *(middle + half)], margin, roll)
