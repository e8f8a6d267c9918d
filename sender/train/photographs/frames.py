"""Views of panoramas, and transforms of photographs."""

import math
from typing import TypeVar

import cv2
import numpy as np

from common.arrays import ByteArray, Float64Array, FloatArray, Image
from sender.perception.detect import LETTERBOX_GREY
from sender.train.photographs.dataset import PhotographDataset

Generator = np.random.Generator
Pixels = TypeVar("Pixels", Image, FloatArray)

_GREY_SHARE = 0.07


class PanoramaFrames:
    """Draws views of panoramas, in which there is nobody (`photographs`: the data set; its source `panoramas`)."""

    def __init__(self, photographs: PhotographDataset, rng: Generator, size: int) -> None:
        self._photographs = photographs
        self._indices = photographs.indices("panoramas")
        self._rng = rng
        self._size = size

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
