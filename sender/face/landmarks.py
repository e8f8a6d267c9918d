"""Landmarks of one face: 468 points and, of each eye, lids and iris, by MediaPipe's network.

    keypoints of the head, or the last landmarks ─ region ─ crop ─ 468 points, score ─┬─ points
                                                        └── lips, eyes once more ─────┴─ lids, iris

Grishchenko et al., *Attention mesh: high-fidelity face mesh prediction in real-time*, 2020.  A region is cut as the
network was trained: 1.5 times the box of the points, upright by the line of the eyes.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.weights.landmark_networks import LEFT_EYE, LIPS, RIGHT_EYE, load_network
from sender.perception.crop import CropBox

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

POINTS = 468
LID_POINTS, IRIS_POINTS = 16, 5
"""Points of an eye: lids, the lower one from corner to corner, then the upper one from the outer corner; iris, its
centre first."""
RIGHT_CORNERS, LEFT_CORNERS = (33, 133), (263, 362)
"""Outer and inner corners of the eyes among the points."""
_SIDE_PX, _MARGIN = 192, 1.5


@dataclass(frozen=True, slots=True)
class FaceLandmarks:
    """What one picture shows of a face; positions in pixels of the frame.

    Args:
        points: (468, 3); z grows away from the camera, in the unit of x and y, from the mean of the face.
        lids: (2, 16, 2) of the left and the right eye.
        iris: (2, 5, 2) likewise.
        score: probability of a face, 0…1.
    """

    points: FloatArray
    lids: FloatArray
    iris: FloatArray
    score: float

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
        return _around(self.points[:, :2], self.roll, _MARGIN)


class FaceReader:
    """The network; threads may call it at once."""

    def __init__(self, network: "CompiledGraph") -> None:
        self._network = network

    @classmethod
    def load(cls) -> Self | None:
        """None where the network is missing."""
        network = load_network("face_landmark_with_attention")
        return None if network is None else cls(network)

    def read(self, image: Image, region: CropBox, least_score: float = 0.0) -> FaceLandmarks | None:
        """The landmarks of a face in a region of a frame (H, W, 3), RGB; None if its score is less."""
        crop = torch.from_numpy(region.cut(image, _SIDE_PX))[None].float() / 255
        mesh, *parts, logit = self._network(crop)
        score = float(logit.sigmoid())
        if score < least_score:
            return None
        units: FloatArray = (mesh.view(POINTS, 3) / _SIDE_PX).numpy()
        points = np.empty((POINTS, 3), np.float32)
        points[:, :2], points[:, 2] = region.to_pixels(units[:, :2]), units[:, 2] * region.side
        lips, right, left, *irises = (region.to_pixels((part.view(-1, 2) / _SIDE_PX).numpy()) for part in parts)
        for places, part in ((LIPS, lips), (RIGHT_EYE, right), (LEFT_EYE, left)):
            points[list(places), :2] = part
        lids, iris = np.stack([left[:LID_POINTS], right[:LID_POINTS]]), np.stack(irises[::-1])
        return FaceLandmarks(points, lids, iris, score)


def read_closely(
    reader: FaceReader, image: Image, region: CropBox, least_score: float, at_first: float = 0.0
) -> FaceLandmarks | None:
    """The landmarks of a face whose region is known to a tenth: it is read again where they say that it is.

    Args:
        least_score, at_first: of that, and of the first look.
    """
    rough = reader.read(image, region, at_first)
    return rough and reader.read(image, rough.region, least_score)


def _around(points: FloatArray, roll: float, margin: float) -> CropBox:
    """The square around points (N, 2), which is turned as they are."""
    centre = points.mean(axis=0)
    axes = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    turned = (points - centre) @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    middle, half = centre + axes @ ((low + high) / 2), (high - low).max() / 2
    return CropBox.around([*(middle - half), *(middle + half)], margin, roll)
