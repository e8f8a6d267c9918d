"""Frames to train the detector on, from photographs: moved, scaled, stretched, tilted and mirrored, with their boxes.

Boxes that hold a crowd, and people too small or truncated too much to be found, are neither people nor background.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np

from common.arrays import ByteArray, Float64Array, FloatArray, Image
from common.synthetic.scene.degradations import degrade
from sender.perception.inference.detector import LETTERBOX_GREY
from sender.train.frames.composed import MIN_HEIGHT_PX, Frame
from sender.train.photographs.dataset import PhotographDataset, Source

Generator = np.random.Generator
Pixels = TypeVar("Pixels", Image, FloatArray)

# Log of the largest change of the picture's scale, from that which fits it into the frame.
_LOG_SCALE = 0.7
# Log of the largest change of width over height; the true proportions of `openimages` are unknown.
_LOG_ASPECT: dict[Source, float] = {"people": 0.17, "openimages": 0.39}
_TILT_DEG, _TILTED_SHARE = 10.0, 0.4
_GREY_SHARE = 0.07
# Probability of a person from which a place without annotation is left out of the loss.  Small people are not annotated
# in `people`, some people of a crowd are not in `openimages`.
_TOLERANCE: dict[Source, float] = {"people": 0.3, "openimages": 0.5}
# A person whose box is visible by a smaller share than this is ignored.
_MIN_VISIBLE_SHARE = 0.3
_MIN_WIDTH_PX = 5
# Share of the enlarged photographs that are centred near a person.
_FOCUSED_SHARE = 0.7


class PhotographFrames:
    """Draws frames from the photographs of one source at random (`source`: with boxes: `people` or `openimages`)."""

    def __init__(self, photographs: PhotographDataset, source: Source, rng: Generator, size: int) -> None:
        self._photographs = photographs
        self._indices = photographs.indices(source)
        self._source: Source = source
        self._rng = rng
        self._size = size

    def __call__(self) -> Frame:
        rng, size = self._rng, self._size
        photograph = self._photographs[int(rng.choice(self._indices))]
        matrix = placement(rng, photograph.image.shape[:2], photograph.boxes, size, _LOG_ASPECT[self._source])
        image = warped(photograph.image, matrix, size).astype(np.float32)
        image = randomly_grey(rng, image)
        boxes = transformed(photograph.boxes, matrix)
        kept, ignored = clipped(boxes, size)
        crowds = transformed(photograph.crowds, matrix).clip(0, size)
        nobody = transformed(photograph.nobody, matrix).clip(0, size)
        return Frame(degrade(rng, image), kept, np.concatenate([ignored, crowds]), _TOLERANCE[self._source], nobody)


class PanoramaFrames:
    """Draws views of panoramas, in which there is nobody (`photographs`: the data set; its source `panoramas`)."""

    def __init__(self, photographs: PhotographDataset, rng: Generator, size: int) -> None:
        self._photographs = photographs
        self._indices = photographs.indices("panoramas")
        self._rng = rng
        self._size = size

    def __call__(self) -> Frame:
        nobody = np.zeros((0, 4), np.float32)
        return Frame(degrade(self._rng, self.view().astype(np.float32)), nobody, nobody)

    def view(self) -> Image:
        """A view (N, N, 3) in a random direction, mirrored at random."""
        rng = self._rng
        panorama = self._photographs[int(rng.choice(self._indices))].image
        yaw, pitch, roll = rng.uniform(-np.pi, np.pi), rng.normal(-0.05, 0.25), rng.normal(0, 0.08)
        image = perspective(panorama, float(yaw), float(pitch), float(roll), rng.uniform(0.8, 1.9), self._size)
        return image[:, ::-1] if rng.random() < 0.5 else image


def randomly_grey(rng: Generator, image: Pixels) -> Pixels:
    """The picture (H, W, 3), grey in a small share of the cases."""
    if rng.random() >= _GREY_SHARE:
        return image
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(image.dtype)


def before_place(image: Image, mask: ByteArray, place: Image) -> Image:
    """A rendered person (S, S, 3), cut out along the mask (S, S) 0…255, before a view (S, S, 3) of a place."""
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.7)[..., None].astype(np.float32) / 255.0
    return np.asarray(alpha * image + (1.0 - alpha) * place + 0.5, np.uint8)


def placement(rng: Generator, shape: Sequence[int], boxes_n4: FloatArray, size: int, log_aspect: float) -> Float64Array:
    """A random transform (2, 3) from the pixels of a picture to those of a frame.

    Args:
        boxes_n4: its people; an enlarged picture shows one of them more often than chance.
        log_aspect: log of the largest change of width over height.
    """
    height, width = shape
    scale = size / max(height, width) * np.exp(rng.uniform(-_LOG_SCALE, _LOG_SCALE))
    stretch = np.exp(0.5 * rng.uniform(-log_aspect, log_aspect))
    angle = np.radians(rng.uniform(-_TILT_DEG, _TILT_DEG)) if rng.random() < _TILTED_SHARE else 0.0
    mirrored = bool(rng.random() < 0.5)
    linear = linear_part(scale, stretch, angle, mirrored)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ linear.T
    low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    focus = rng.uniform([0, 0], [width, height])
    if len(boxes_n4) and rng.random() < _FOCUSED_SHARE:
        box = boxes_n4[rng.integers(len(boxes_n4))]
        focus = (box[:2] + box[2:]) / 2
    room = size - extent
    inside = rng.uniform(0, np.maximum(room, 0))
    centred = np.clip(rng.uniform(0.2, 0.8, 2) * size - linear @ focus + low, np.minimum(room, 0), 0)
    corner = np.where(room >= 0, inside, centred)
    return np.concatenate([linear, (corner - low)[:, None]], axis=1)


def linear_part(scale: float, stretch: float, angle: float, mirrored: bool) -> Float64Array:
    """The linear part (2, 2) of a transform that scales, mirrors and stretches the width over the height, then turns.

    Args:
        stretch: of the width; the height is divided by it.
        angle: radians.
    """
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(turn @ np.diag([(-scale if mirrored else scale) * stretch, scale / stretch]))


def warped(image: Image, matrix_23: Float64Array, size: int, border: int = LETTERBOX_GREY) -> Image:
    """The square (N, N, 3) that a transform makes of a picture, with the grey of `letterboxed` around it."""
    factor = min(1.0, float(np.sqrt(abs(np.linalg.det(matrix_23[:, :2])))))
    if factor < 0.8:  # Scaled down by averaging; the transform itself only interpolates.
        reduced = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        back = np.array([image.shape[1] / reduced[0], image.shape[0] / reduced[1]])
        image = np.asarray(cv2.resize(image, reduced, interpolation=cv2.INTER_AREA), np.uint8)
        matrix_23 = np.concatenate([matrix_23[:, :2] * back, matrix_23[:, 2:]], axis=1)
    # OpenCV's pixel centres have whole coordinates, ours end in a half.
    shifted = matrix_23.copy()
    shifted[:, 2] += matrix_23[:, :2] @ [0.5, 0.5] - 0.5
    return np.asarray(cv2.warpAffine(image, shifted, (size, size), borderValue=(border,) * 3), np.uint8)


def transformed(boxes_n4: FloatArray, matrix_23: Float64Array) -> FloatArray:
    """The boxes (n, 4) around the ellipses in the given boxes after a transform; exact if it does not rotate."""
    centres = (boxes_n4[:, :2] + boxes_n4[:, 2:]) / 2 @ matrix_23[:, :2].T + matrix_23[:, 2]
    half = np.sqrt(((boxes_n4[:, 2:] - boxes_n4[:, :2]) / 2) ** 2 @ (matrix_23[:, :2] ** 2).T)
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def clipped(boxes_n4: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Boxes clipped to the frame: those of people to be found (n, 4), and those to be ignored (m, 4)."""
    inside = boxes_n4.clip(0, size)
    extent = inside[:, 2:] - inside[:, :2]
    share = extent.prod(axis=1) / (boxes_n4[:, 2:] - boxes_n4[:, :2]).prod(axis=1).clip(1e-6)
    large = (extent[:, 0] >= _MIN_WIDTH_PX) & (extent[:, 1] >= MIN_HEIGHT_PX)
    kept = large & (share >= _MIN_VISIBLE_SHARE)
    return inside[kept], inside[~kept & (extent.min(axis=1) > 0)]


def perspective(panorama: Image, yaw: float, pitch: float, roll: float, field_of_view: float, size: int) -> Image:
    """A pinhole camera's view (N, N, 3) of an equirectangular picture (H, 2 H, 3); angles in radians.

    Args:
        panorama: its columns are the azimuths −π…π, its rows the elevations π/2…−π/2.
        yaw: of the camera, to the right.
        pitch: upwards.
        roll: clockwise.
        field_of_view: between opposite sides of the view.
    """
    height, width = panorama.shape[:2]
    plane = (((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(field_of_view / 2)).astype(np.float32)
    x, y = np.meshgrid(plane, plane)
    x, y = math.cos(roll) * x - math.sin(roll) * y, math.sin(roll) * x + math.cos(roll) * y
    up, ahead = math.sin(pitch) - y * math.cos(pitch), math.cos(pitch) + y * math.sin(pitch)
    azimuth = np.arctan2(x, ahead) + yaw
    elevation = np.arctan2(up, np.hypot(x, ahead))
    columns = (azimuth / (2 * np.pi) + 0.5) % 1.0 * width - 0.5
    rows = (0.5 - elevation / np.pi) * height - 0.5
    mapping = columns, rows.clip(0, height - 1)
    return np.asarray(cv2.remap(panorama, *mapping, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.uint8)
