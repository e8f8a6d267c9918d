"""Square crops of a frame, the transform from a crop's camera space to the frame's, and similarities of points.

Perception is trained with cameras whose optical axis passes through the centre of the crop.  The axis of the frame's
camera is at an angle θ to the ray through the crop's centre; R_ray is the rotation between the two:
X_frame = R_ray R_roll X_crop, where R_roll turns a crop that is rolled.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import Float64Array, FloatArray, Image
from common.frames import Camera

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
        return rolled_axes(self.roll)

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


def rolled_axes(roll: float) -> Float64Array:
    """(2, 2) whose columns are the axes of an image that is turned clockwise by so many radians."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, -sin], [sin, cos]])


def ray_rotation(crop: CropBox, camera: Camera) -> Float64Array:
    """R_ray R_roll (3, 3); R_ray is the smallest rotation from the camera's axis to the ray through the centre."""
    x, y = crop.centre
    across, down = (x - camera.width / 2) / camera.focal_px, (y - camera.height / 2) / camera.focal_px
    cosine = 1 / math.sqrt(1 + across**2 + down**2)
    ray = np.array([across, down]) * cosine
    rotation = np.eye(3)
    rotation[:2, :2] -= np.outer(ray, ray) / (1 + cosine)
    rotation[:2, 2], rotation[2, :2], rotation[2, 2] = ray, -ray, cosine
    if crop.roll:
        rotation[:, :2] = rotation[:, :2] @ crop.axes
    return rotation


def to_frame(
    orientation: FloatArray, translation: FloatArray, crop: CropBox, camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """Orientation (3, 3) and translation (3,) of a body in the crop's camera space → in the frame's.

    The distance is that which belongs to the nominal focal length `camera.focal_px / crop.side`; the off-axis stretch
    by cos θ of the ray through the crop's centre is corrected here.
    """
    rotation = ray_rotation(crop, camera)
    stretched = translation * np.array([1.0, 1.0, rotation[2, 2] ** -1.5])
    return (rotation @ orientation).astype(np.float32), (rotation @ stretched).astype(np.float32)


def to_crop(
    orientation: FloatArray, translation: FloatArray, crop: CropBox, camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """The inverse of `to_frame`."""
    rotation = ray_rotation(crop, camera)
    turned = rotation.T @ translation * np.array([1.0, 1.0, rotation[2, 2] ** 1.5])
    return (rotation.T @ orientation).astype(np.float32), turned.astype(np.float32)


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
