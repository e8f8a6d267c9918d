"""Finds a face and its landmarks, and aligns them.

    frame ─ detector for short range ─ regions
    keypoints of the head, or the last landmarks ─ region ─ crop ─ 468 points, score ─┬─ points
                                                        └── lips, eyes once more ─────┴─ lids, iris

MediaPipe's networks: Bazarevsky et al., *BlazeFace: sub-millisecond neural face detection on mobile GPUs*, 2019;
Grishchenko et al., *Attention mesh: high-fidelity face mesh prediction in real-time*, 2020.  A region is cut as the
network was trained: 1.5 times the box of the points, upright by the line of the eyes.

Landmarks in the frame of the head tell what a face does, whichever way it is turned.  A similarity lays them over a
template, whose points are where the network finds its landmarks on the body's mean head; points that facial actions
move weigh less.  Of an eye, lids and iris are offsets from the middle of the corners that are found with the lids, and
once more the iris from the middle of those in the template: the first are exact in large pictures, in small ones the
corners follow the iris.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, Image
from common.weights.landmark_networks import LEFT_EYE, LIPS, RIGHT_EYE, load_network
from sender.perception.crop import CropBox, rolled_axes, similarity
from sender.perception.detect import letterboxed, unsuppressed
from sender.perception.heads import cell_centres

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

# Of 255 photographed faces whose regions the landmarks give: sides over the distances of the eyes and from the line of
# the eyes to the nose (to 11 %), and the centre.
_EYES, _NOSE = 3.5, 3.0
_LOWER, _AGAINST_NOSE = 0.13, 1.1
FACE_PER_EYES = 2.2
"""A face's size in pixels is so many times the distance of its eyes, seen from the front."""
_FACE_PER_SIDE = FACE_PER_EYES / 3.85


def region_of_keypoints(keypoints: FloatArray) -> CropBox:
    """The region of nose, left and right eye (≥ 3, 2), in the order of COCO's keypoints, pixels."""
    nose, left, right = np.asarray(keypoints[:3], np.float64)
    across = left - right
    roll = math.atan2(across[1], across[0])
    axes = rolled_axes(roll)
    middle = (left + right) / 2
    aside, below = (nose - middle) @ axes
    side = math.hypot(_EYES * np.hypot(*across), _NOSE * below)
    x, y = middle + axes @ [-_AGAINST_NOSE * aside, _LOWER * side]
    half = side / 2
    return CropBox.around([x - half, y - half, x + half, y + half], 1.0, roll)


def face_px(region: CropBox) -> float:
    """Size of the face in a region, pixels."""
    return _FACE_PER_SIDE * region.side


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
        points = self.points[:, :2]
        centre, axes = points.mean(axis=0), rolled_axes(self.roll)
        turned = (points - centre) @ axes
        low, high = turned.min(axis=0), turned.max(axis=0)
        middle, half = centre + axes @ ((low + high) / 2), (high - low).max() / 2
        return CropBox.around([*(middle - half), *(middle + half)], _MARGIN, self.roll)


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


INNER_CORNER = 8
"""Of the points of a lid; the outer one is the first."""
EYE_FEATURES = 2 * 2 * (LID_POINTS + 2)
FEATURES = 3 * POINTS + EYE_FEATURES
UNIT_M = 1e-3
TEMPLATE_AT_M = (0.0, -0.6954, -0.1407)
"""The mean of the template, on the body at rest, metres."""
_CORNERS = [list(LEFT_CORNERS), list(RIGHT_CORNERS)]
# The middle of the inner borders of the lips, from the person's right to the left.
_UPPER_LIP, _LOWER_LIP = [81, 82, 13, 312, 311], [178, 87, 14, 317, 402]
# Points of a lid between which the eye opens.
_LOWER_LID, _UPPER_LID = slice(2, 7), slice(10, 15)


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face in the frame of the head.

    Args:
        features: (F,) deviations of the landmarks from the template, then (2, 18, 2) offsets of lids and iris,
            millimetres.
        rotation: (3, 3) from the head's frame to the camera's, of a camera that looks at the face.
        px_per_m: pixels of the frame that a metre of the face spans.
        lips_mm, lids_mm: how far the lips and the lids (2,) of the left and the right eye are apart, in the picture,
            at that scale.
    """

    features: FloatArray
    rotation: FloatArray
    px_per_m: float
    lips_mm: float = 0.0
    lids_mm: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))


class Alignment:
    """Lays faces over the template.

    Args:
        template: (468, 3) on the mean body's head in the rest pose, metres.
        weights: (468,) of the points.

    Raises:
        ValueError: no point has weight.
    """

    def __init__(self, template: FloatArray, weights: FloatArray) -> None:
        if not weights.sum() > 0:
            raise ValueError("no point of the template has weight")
        self._weights: Float64Array = (weights / weights.sum()).astype(np.float64)
        # The weighted middle, and the points about it.
        self.middle: Float64Array = self._weights @ template
        self.template: Float64Array = template - self.middle

    def similarity(self, face: FaceLandmarks) -> tuple[Float64Array, float, Float64Array]:
        """Rotation (3, 3), scale and position (3,) that lay the template, about its middle, over a face."""
        return similarity(self.template, face.points, self._weights)

    def align(self, face: FaceLandmarks) -> AlignedFace:
        """Lays a face over the template."""
        rotation, scale, centre = self.similarity(face)
        moved = (face.points - centre) @ rotation / scale - self.template
        eyes = self._eyes(face, centre, rotation / scale)
        features = np.concatenate([moved.ravel(), eyes.ravel()]) / UNIT_M
        lips = _apart(face.points[_UPPER_LIP, :2], face.points[_LOWER_LIP, :2])
        lids = _apart(face.lids[:, _UPPER_LID], face.lids[:, _LOWER_LID])
        unit = scale * UNIT_M
        return AlignedFace(
            features.astype(np.float32), rotation.astype(np.float32), scale, float(lips / unit), lids / np.float32(unit)
        )

    def _eyes(self, face: FaceLandmarks, centre: Float64Array, back: Float64Array) -> Float64Array:
        """(2, 18, 2) offsets of the lids' points and the iris, the head's axes."""
        middle = (face.lids[:, :1] + face.lids[:, INNER_CORNER : INNER_CORNER + 1]) / 2
        offsets = np.concatenate([face.lids, face.iris[:, :1]], axis=1) - middle
        depth = face.points[_CORNERS, 2].mean(axis=1)
        iris = np.concatenate([face.iris[:, 0], depth[:, None]], axis=1) - centre
        of_template = iris @ back - self.template[_CORNERS].mean(axis=1)
        return np.concatenate([offsets @ back[:2, :2], of_template[:, None, :2]], axis=1)


def _apart(one: FloatArray, other: FloatArray) -> FloatArray:
    """(…) mean distances between points (…, N, 2)."""
    return np.asarray(np.linalg.norm(one - other, axis=-1).mean(axis=-1), np.float32)


_DETECTOR_PX: Final = 128
# Of the two grids of anchors: cells a side, and anchors a cell.
_GRIDS: Final = ((16, 2), (8, 6))
# Right and left eye and nose among the points of a face.
_RIGHT_EYE, _LEFT_EYE, _NOSE_MARK = range(3)
_NMS_IOU: Final = 0.5
LEAST_SCORE: Final = 0.5
"""MediaPipe's own threshold."""


class FaceDetector:
    """The network; threads may call it at once."""

    def __init__(self, network: "CompiledGraph") -> None:
        self._network = network
        # (896, 2) of the anchors, 0…1.
        self._centres = torch.cat(
            [cell_centres(torch.empty(cells, cells)).repeat_interleave(anchors, dim=0) for cells, anchors in _GRIDS]
        )

    @classmethod
    def load(cls) -> Self | None:
        """None where the network is missing."""
        network = load_network("face_detection_short_range")
        return None if network is None else cls(network)

    @torch.inference_mode()
    def find(self, image: Image) -> list[CropBox]:
        """The faces of a frame (H, W, 3), RGB, best first: where `FaceReader` may look for their landmarks."""
        square, letterbox = letterboxed(image, (_DETECTOR_PX, _DETECTOR_PX))
        numbers, logits = self._network(torch.from_numpy(square)[None].float() / 127.5 - 1)
        scores = logits[0, :, 0].sigmoid()
        kept = scores >= LEAST_SCORE
        points = numbers[0, kept].unflatten(1, (-1, 2)) / _DETECTOR_PX
        # The box's size is no point: it is from no anchor.
        points[:, [0, *range(2, points.shape[1])]] += self._centres[kept][:, None]
        middle, half = points[:, 0], points[:, 1] / 2
        boxes, scores = torch.cat([middle - half, middle + half], dim=1), scores[kept]
        marks = points[unsuppressed(boxes, scores, _NMS_IOU)][:, [2 + _NOSE_MARK, 2 + _LEFT_EYE, 2 + _RIGHT_EYE]]
        pixels = _DETECTOR_PX * marks.numpy() @ letterbox.turn[:, :2].T + letterbox.turn[:, 2]
        return [region_of_keypoints(each.astype(np.float32)) for each in pixels]
