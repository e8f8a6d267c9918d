"""Square crops of a frame, the views of a person in them, and the source's clock.

Perception is trained with cameras whose optical axis passes through the centre of the crop.  The axis of the frame's
camera is at an angle θ to the ray through the crop's centre; R_ray is the rotation between the two:
X_frame = R_ray R_roll X_crop, where R_roll turns a crop that is rolled.

Perception sees a person in both views by turns: flip augmentation for half the price.  Its errors on a crop and on the
mirror image differ by a constant, nearly: a person who stands still would jump to and fro.  The mean of a frame and the
last one in the other view has none of that, but lags by half a step, which the velocity makes up for; it is taken
between frames of one view, and averaged.  With x_i what is seen in frame i, at the time t_i, and j and k the last
frames before in the same view and in the other one,

    v ← v + g ((x_i − x_j) / (t_i − t_j) − v),     mean_i = (x_i + x_k) / 2 + v (t_i − t_k) / 2
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import Float64Array, FloatArray, Image
from common.frames import Camera

AnyFloats = TypeVar("AnyFloats", FloatArray, Float64Array)

CROP_MARGIN = 1.25
"""Side of the crop over the longer side of the person's box; the middle of the range drawn in training."""

_MIN_SIDE_PX = 16
# Side of the smallest crops that networks read: of crops from twice this side on, the side can be halved.
_READ_PX = 160


@dataclass(frozen=True, slots=True)
class CropBox:
    """A square of pixels in the frame; it may extend beyond the frame's border.

    Args:
        left, top: of the square before it is rolled.
        roll: radians by which it is turned clockwise around its centre.
    """

    left: int
    top: int
    side: int
    roll: float = 0.0

    @classmethod
    def around(cls, box_xyxy: npt.ArrayLike, margin: float = CROP_MARGIN, roll: float = 0.0) -> "CropBox":
        """The square around a person's box (left, top, right, bottom) in pixels."""
        left, top, right, bottom = np.asarray(box_xyxy, dtype=np.float64)
        side = max(_MIN_SIDE_PX, round(margin * max(right - left, bottom - top)))
        step = 2 ** max(0, int(math.log2(side / _READ_PX)))
        side = step * round(side / step)
        return cls(round((left + right - side) / 2), round((top + bottom - side) / 2), side, roll)

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.side / 2, self.top + self.side / 2

    @property
    def axes(self) -> Float64Array:
        """(2, 2) whose columns are the crop's axes in the frame."""
        axes: Float64Array = rolled_axes(self.roll)
        return axes

    def to_pixels(self, positions: FloatArray) -> FloatArray:
        """Positions (…, 2) in crop units, 0…1 → pixels of the frame."""
        if not self.roll:
            return np.asarray(positions * self.side + np.array([self.left, self.top]), dtype=np.float32)
        return np.asarray(self.side * (positions - 0.5) @ self.axes.T + self.centre, dtype=np.float32)

    def to_units(self, pixels: FloatArray) -> FloatArray:
        """Pixels (…, 2) of the frame → positions in crop units."""
        if not self.roll:
            return np.asarray((pixels - [self.left, self.top]) / self.side, dtype=np.float32)
        return np.asarray((pixels - self.centre) @ self.axes / self.side + 0.5, dtype=np.float32)

    def cut(self, image: Image, size: int) -> Image:
        """The crop (size, size, 3), resampled; black beyond the frame's border."""
        if self.roll:
            return self._cut_rolled(image, size)
        height, width = image.shape[:2]
        x0, x1 = max(0, self.left), min(width, self.left + self.side)
        y0, y1 = max(0, self.top), min(height, self.top + self.side)
        if x0 >= x1 or y0 >= y1:
            return np.zeros((size, size, 3), dtype=np.uint8)
        square: Image = np.zeros((self.side, self.side, 3), dtype=np.uint8)
        square[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = image[y0:y1, x0:x1]
        # Halving is vectorised; the mean over areas of any other size takes a third of the time after it, or less.
        while len(square) >= 2 * size and len(square) % 2 == 0:
            square = _resized(square, len(square) // 2)
        return _resized(square, size)

    def _cut_rolled(self, image: Image, size: int) -> Image:
        """Cuts the upright square around the crop at its resolution, then turns it."""
        wider = float(np.abs(self.axes[0]).sum())
        x, y = self.centre
        side, wide = round(wider * self.side), round(wider * size)
        upright = CropBox(round(x - side / 2), round(y - side / 2), side)
        # From centres of pixels of the crop to those of the upright square.
        turn = self.axes * (self.side / size) * (wide / side)
        shift = upright.to_units(np.array([x, y])) * wide - turn @ np.full(2, (size - 1) / 2) - 0.5
        matrix = np.concatenate([turn, shift[:, None]], axis=1)
        method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(upright.cut(image, wide), matrix, (size, size), flags=method), dtype=np.uint8)


def _resized(square: Image, size: int) -> Image:
    method = cv2.INTER_AREA if len(square) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), dtype=np.uint8)


def rolled_axes(roll: float | FloatArray | Float64Array) -> Any:
    """(…, 2, 2) whose columns are the axes of images that are turned clockwise by so many radians (…)."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos, -sin, sin, cos], -1).reshape(*np.shape(roll), 2, 2)


def crop_rotation(centre: AnyFloats, roll: AnyFloats) -> AnyFloats:
    """(…, 3, 3) R_ray R_roll of crops; R_ray is the smallest rotation from the camera's axis to a crop's centre.

    Args:
        centre: (…, 2) of the crops, focal lengths from the principal point.
        roll: (…,) of the crops.
    """
    cosine: Any = 1 / np.sqrt(1 + np.square(centre).sum(-1))
    ray = centre * cosine[..., None]
    rotation: Any = np.zeros((*cosine.shape, 3, 3), centre.dtype)
    rotation[..., :2, :2] = np.eye(2) - ray[..., :, None] * ray[..., None, :] / (1 + cosine)[..., None, None]
    rotation[..., :2, 2], rotation[..., 2, :2], rotation[..., 2, 2] = ray, -ray, cosine
    rotation[..., :2] = rotation[..., :2] @ rolled_axes(roll)
    return np.asarray(rotation)


def ray_rotation(crop: CropBox, camera: Camera) -> Float64Array:
    """R_ray R_roll (3, 3) of one crop."""
    return crop_rotation(camera.rays(np.array(crop.centre))[:2], np.array(crop.roll))


def to_frame(
    orientation: FloatArray, translation: FloatArray, rotation: FloatArray | Float64Array
) -> tuple[FloatArray, FloatArray]:
    """Orientations (…, 3, 3) and translations (…, 3) of bodies in crops' camera spaces → in the frame's.

    The distance is that which belongs to the nominal focal length `camera.focal_px / crop.side`; the off-axis stretch
    by cos θ of the ray through the crop's centre is corrected here.

    Args:
        rotation: (…, 3, 3) of `crop_rotation`.
    """
    stretched: Any = translation.astype(rotation.dtype)
    stretched[..., 2] *= rotation[..., 2, 2] ** -1.5
    return (rotation @ orientation).astype(np.float32), (rotation @ stretched[..., None])[..., 0].astype(np.float32)


def to_crop(
    orientation: FloatArray, translation: FloatArray, rotation: FloatArray | Float64Array
) -> tuple[FloatArray, FloatArray]:
    """The inverse of `to_frame`."""
    back = rotation.swapaxes(-1, -2)
    turned = (back @ translation[..., None])[..., 0]
    turned[..., 2] *= rotation[..., 2, 2] ** 1.5
    return (back @ orientation).astype(np.float32), turned.astype(np.float32)


def similarity(
    points: FloatArray | Float64Array, targets: FloatArray | Float64Array, shares: Float64Array
) -> tuple[Float64Array, float, Float64Array]:
    """Rotation (3, 3), scale and position (3,) with the least squared distances of scale · R · point + position.

    Umeyama, *Least-squares estimation of transformation parameters between two point patterns*, 1991.

    Args:
        points, targets: (N, 3).
        shares: (N,) of each point; their sum is 1.
    """
    middle, aim = shares @ points, shares @ targets
    centred = points - middle
    left, sizes, right = np.linalg.svd(((targets - aim) * shares[:, None]).T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = np.asarray((left * signs) @ right, np.float64)
    scale = float(sizes @ signs) / float(shares @ np.square(centred).sum(axis=1))
    return rotation, scale, np.asarray(aim - scale * rotation @ middle, np.float64)


View = Literal["both", "plain", "mirrored"]
"""How the network sees a crop: as it is, as its mirror image, or both, in twice the time."""

OTHER: Final[dict[View, View]] = {"both": "both", "plain": "mirrored", "mirrored": "plain"}

# Frames that follow each other within this time are seen in one view, seconds.
_TURN_S = 0.1
# Time constant of the velocity, g = 0.5 at 30 frames a second: joints are as exact as with both views in each frame.
_VELOCITY_S = 0.048
# What was seen longer ago in the other view says nothing, seconds.
_MOST_APART_S = 0.2


@dataclass(slots=True)
class ViewMean:
    """What was seen of one person in the last frame of each view.

    Args:
        last: the numbers, and the time of the frame.
        velocity: of the numbers, a second.
    """

    last: dict[View, tuple[FloatArray, float]] = field(default_factory=dict)
    velocity: FloatArray | None = None

    def add(self, view: View, values: FloatArray, now_s: float) -> FloatArray:
        """Takes a frame; returns what both views would show in it.

        Args:
            values: (N,) numbers that perception saw or that follow from it, such as a box.
            now_s: of the frame, later than of the last one.
        """
        if view == "both":
            mean, self.last = values, {}
        else:
            mean = self._mean(view, values, now_s)
        self.last[view] = values, now_s
        return mean

    def _mean(self, view: View, values: FloatArray, now_s: float) -> FloatArray:
        if view in self.last:
            first, first_s = self.last[view]
            velocity = (values - first) / np.float32(now_s - first_s)
            gain = np.float32(1 - math.exp(-(now_s - first_s) / 2 / _VELOCITY_S))
            self.velocity = velocity if self.velocity is None else self.velocity + gain * (velocity - self.velocity)
        before, before_s = self.last.get(OTHER[view], self.last.get("both", (values, -math.inf)))
        step_s = now_s - before_s
        if step_s > _MOST_APART_S:
            return values
        if OTHER[view] not in self.last:
            # One view alone would be off.
            return before if self.velocity is None else np.asarray(before + step_s * self.velocity, np.float32)
        middle = (values + before) / np.float32(2)
        return middle if self.velocity is None else np.asarray(middle + step_s / 2 * self.velocity, np.float32)


class ViewTurns:
    """Decides in which view people are seen.

    Args:
        live: whether the source is a camera. Its frames are rare when the machine is busy, and a second view of each
            would make them rarer.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._view: View = "plain"
        self._last_s: float | None = None

    def next_view(self, people: Sequence[ViewMean], time_s: float | None, *, keeps: bool = False) -> View:
        """How everybody in a frame is to be seen: in both views where somebody is new, and after a pause of a file.

        Args:
            people: what was seen of them.
            time_s: on the source's clock; None where it has none.
            keeps: as in the last frame.
        """
        last_s, self._last_s = self._last_s, time_s
        follows = time_s is not None and last_s is not None and 0.0 < time_s - last_s <= _TURN_S
        if keeps:
            return self._view
        if not all(person.last for person in people) or not (follows or self._live):
            return "both"
        self._view = OTHER[self._view] if follows else "plain"
        return self._view


USUAL_STEP_S: Final = 1 / 30
"""From one frame to the next where the source does not say."""


class FrameClock:
    """Seconds of the source's own time; never goes back.

    Attributes:
        now_s: from the first frame to the present one.
        step_s: from the frame before to the present one.
    """

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, USUAL_STEP_S
        self._last_s: float | None = None
        self._began = False

    def tick(self, time_s: float | None) -> float:
        """Goes on to the next frame; returns how much later it is.

        Args:
            time_s: on the source's clock; where it is unknown or does not advance, the usual step passes.
        """
        step_s = 0.0 if time_s is None or self._last_s is None else time_s - self._last_s
        self.step_s, self._last_s = step_s if step_s > 0 else USUAL_STEP_S, time_s
        if self._began:
            self.now_s += self.step_s
        self._began = True
        return self.step_s
