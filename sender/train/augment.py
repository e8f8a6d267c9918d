"""What training pictures may look like: framing, places, patches, and people pasted into frames.

What cameras make of a picture (exposure, blur, noise, compression) is `common.synthetic.scene.backgrounds.degrade`.
Frames are composed of crops over backgrounds.  A person who is truncated in the crop is placed at the frame's border.
Objects are pasted too, so that the edge of a cut-out does not identify a person.

Shapes: N, S sides of pictures, K keypoints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.backgrounds import BackgroundBank, degrade
from common.synthetic.scene.scene import Layer, occluder
from sender.perception.detect import LETTERBOX_GREY

# A person is annotated if at least this share of the pixels is visible and the box is this high.
_SEEN = 0.35
_MIN_HEIGHT_PX = 14
_CROPS_PER_READ = 96
# Share of the frames whose people are in a group.
_GROUP_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Framing:
    """The largest random changes of a crop; half of all crops are mirrored.

    Args:
        turn: radians.
        turned: share of the crops that are turned.
        log_scale: logarithm of the size.
        shift: of the place, in sides of the crop.
        log_aspect: logarithm of width over height.
    """

    turn: float = 0.0
    turned: float = 1.0
    log_scale: float = 0.0
    shift: float = 0.0
    log_aspect: float = 0.0

    def drawn(self, rng: Generator, centre: npt.NDArray[Any], side: float, size: int) -> tuple[Float64Array, bool]:
        """A transform (2, 3) to the pixels of a crop of `size`, and whether it mirrors.

        Args:
            centre, side: (2,) of the square that is framed, and its side, pixels.
        """
        side *= np.exp(rng.uniform(-self.log_scale, self.log_scale))
        middle = centre + rng.uniform(-self.shift, self.shift, 2) * side
        angle = rng.uniform(-self.turn, self.turn) if rng.random() < self.turned else 0.0
        mirrored = bool(rng.random() < 0.5)
        stretch = np.exp(0.5 * rng.uniform(-self.log_aspect, self.log_aspect))
        linear = linear_part(size / side, stretch, angle, mirrored)
        return np.concatenate([linear, (size / 2 - linear @ middle)[:, None]], axis=1), mirrored


def linear_part(scale: float, stretch: float, angle: float, mirrored: bool) -> Float64Array:
    """The linear part (2, 2) of a transform that scales, mirrors and stretches the width over the height, then turns.

    Args:
        stretch: of the width; the height is divided by it.
        angle: radians.
    """
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(turn @ np.diag([(-scale if mirrored else scale) * stretch, scale / stretch]))


def moved(keypoints: FloatArray, matrix_23: Float64Array, mirrored: bool, size: int) -> FloatArray:
    """Keypoints (K, 2 and more), pixels → crop units, after a transform; left and right change names if it mirrors."""
    places = (keypoints[:, :2] @ matrix_23[:, :2].T + matrix_23[:, 2]) / size
    out = np.concatenate([places, keypoints[:, 2:]], axis=1).astype(np.float32)
    return out[MIRRORED_KEYPOINTS] if mirrored else out


def warped(image: Image, matrix_23: Float64Array, size: int, border: int = LETTERBOX_GREY) -> Image:
    """The square (N, N, …) that a transform makes of a picture, with the grey of `letterboxed` around it."""
    factor = min(1.0, float(np.sqrt(abs(np.linalg.det(matrix_23[:, :2])))))
    if factor < 0.8:  # Scaled down by averaging; the transform itself only interpolates.
        reduced = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        back = np.array([image.shape[1] / reduced[0], image.shape[0] / reduced[1]])
        image = np.asarray(cv2.resize(image, reduced, interpolation=cv2.INTER_AREA), np.uint8)
        matrix_23 = np.concatenate([matrix_23[:, :2] * back, matrix_23[:, 2:]], axis=1)
    # OpenCV's pixel centres have whole coordinates, ours end in a half.
    shifted = matrix_23.copy()
    shifted[:, 2] += matrix_23[:, :2] @ [0.5, 0.5] - 0.5
    return np.asarray(cv2.warpAffine(image, shifted, (size, size), borderValue=(border,) * 4), np.uint8)


def patch(rng: Generator, least: float, most: float) -> tuple[Float64Array, Float64Array]:
    """The corners (2,), (2,) of a rectangle in a picture, 0…1, whose sides are of random lengths between two."""
    extent = rng.uniform(least, most, 2)
    start = rng.uniform(0, 1 - extent)
    return start, start + extent


def cover(picture: npt.NDArray[Any], low: Float64Array, high: Float64Array, fill: npt.ArrayLike) -> None:
    """Covers a rectangle of a picture (H, W, …), in place, with one value or colour, or with a piece (h, w, 3)."""
    size = picture.shape[1::-1]
    (left, top), (right, bottom) = ((corner * size).round().astype(int) for corner in (low, high))
    if np.ndim(fill) == 3:
        piece = cv2.resize(np.asarray(fill), (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA)
    picture[top:bottom, left:right] = piece if np.ndim(fill) == 3 else fill


def covered(places: FloatArray, low: Float64Array, high: Float64Array) -> BoolArray:
    """(…) which of places (…, 2) are in a rectangle."""
    return np.asarray(((places >= low) & (places < high)).all(axis=-1))


def before_place(image: Image, mask: ByteArray, place: Image) -> Image:
    """A person (S, S, 3), cut out along a mask 0…255 of the same or a smaller size, before a place (S, S, 3)."""
    whole = cv2.GaussianBlur(cv2.resize(mask, image.shape[1::-1]), (0, 0), 0.7)
    alpha = whole[..., None].astype(np.float32) / 255.0
    return np.asarray(alpha * image + (1.0 - alpha) * place + 0.5, np.uint8)


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


class FrameComposer:
    """Composes frames at random.

    Args:
        datasets: crops to take people from, each data set equally often.
        backgrounds: number of backgrounds to make first.
    """

    def __init__(self, datasets: Sequence[CropDataset], rng: Generator, size: int, backgrounds: int = 120) -> None:
        self._datasets, self._rng, self._size = tuple(datasets), rng, size
        self._backgrounds = BackgroundBank(rng, backgrounds, size)
        self._people: list[tuple[Image, ByteArray]] = []

    def frame(self) -> tuple[ByteArray, FloatArray]:
        """An image (N, N, 3) and its people's boxes (n, 4) in pixels."""
        rng, size = self._rng, self._size
        image = self._scenery()
        count = int(rng.choice(6, p=[0.12, 0.36, 0.2, 0.13, 0.1, 0.09]))
        heights = np.sort(size * np.exp(rng.uniform(np.log(0.1), np.log(1.15), count)))
        # A group: people of about the same height, side by side.
        across = float(rng.uniform(0.1, 0.5)) * size if rng.random() < _GROUP_SHARE else None
        if across is not None:
            heights = heights[:1] * rng.uniform(0.8, 1.2, count)
        areas, visible = list[float](), list[FloatArray]()
        for height in heights.tolist():
            person, area = self._person(height, across)
            front = [occluder(rng, size, self._backgrounds)] if rng.random() < 0.1 else []
            for layer in (person, *front):
                image, visible = layer.over(image), [each * (1 - layer.alpha) for each in visible]
                if layer is person:
                    areas, visible = [*areas, area], [*visible, person.alpha]
            if across is not None:
                across += height * float(rng.uniform(0.18, 0.5))
        self._letterbox(image, visible)
        enough = (each[..., 0] > 0.5 for each, area in zip(visible, areas, strict=True) if each.sum() > _SEEN * area)
        boxes = np.array([box_of(each) for each in enough if each.any()], np.float32).reshape(-1, 4)
        return degrade(rng, image), boxes[boxes[:, 3] - boxes[:, 1] >= _MIN_HEIGHT_PX]

    def negative(self) -> ByteArray:
        """A crop (N, N, 3) of a background with objects, and nobody."""
        return degrade(self._rng, self._scenery())

    def _scenery(self) -> FloatArray:
        image = self._backgrounds.draw(self._rng, self._size, self._size)
        for _ in range(self._rng.integers(0, 4)):
            image = occluder(self._rng, self._size, self._backgrounds).over(image)
        return image

    def _crop(self) -> tuple[Image, ByteArray]:
        """A crop and its mask, of whom at least 12 rows and 6 columns are seen."""
        while not self._people:
            for dataset in self._datasets:
                wanted = np.sort(self._rng.choice(len(dataset), _CROPS_PER_READ // len(self._datasets)))
                crops = dataset.batch(wanted, ("image", "mask"))
                people = zip(crops["image"], crops["mask"], strict=True)
                self._people += [(image, mask) for image, mask in people if _is_large(mask)]
            self._rng.shuffle(self._people)
        return self._people.pop()

    def _person(self, height: float, across: float | None) -> tuple[Layer, float]:
        """Somebody of a height in pixels, around column `across` or anywhere; with the area if nothing hid it."""
        rng, (image, mask) = self._rng, self._crop()
        box = np.array(box_of(mask > 0))
        truncated, mirrored = np.concatenate([box[:2] == 0, box[2:] == len(mask)]), bool(rng.random() < 0.5)
        scale = height / float((box[2:] - box[:2]).max())
        corner = self._corner((box[2:] - box[:2]) * scale, truncated[[2, 1, 0, 3]] if mirrored else truncated)
        if across is not None:
            corner[0] = across - scale * (box[2] - box[0]) / 2
        linear = linear_part(scale, 1.0, 0.0, mirrored)
        matrix = np.column_stack([linear, corner - linear @ (box[[2, 1]] if mirrored else box[:2])])
        alpha = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.3, 1.0)) / min(scale, 1.0))[..., None]
        cut = np.concatenate([image * (alpha / 255), alpha], axis=2).round().astype(np.uint8)
        pasted = warped(cut, matrix, self._size, border=0).astype(np.float32)
        return Layer(pasted[..., :3], pasted[..., 3:] / np.float32(255)), float((mask > 0).sum()) * scale**2

    def _corner(self, extent: Float64Array, truncated: BoolArray) -> Float64Array:
        """Left and top of a cut-out of (width, height): anywhere, or at the border where it is truncated."""
        rng, corner = self._rng, np.zeros(2)
        for axis, room in enumerate(self._size - extent):
            beyond = 0.0 if room > 0 and rng.random() < 0.8 else 0.15 * extent[axis]
            corner[axis] = rng.uniform(*sorted((-beyond, room + beyond)))
            if rng.random() < 0.85 and (truncated[axis] or truncated[axis + 2]):
                corner[axis] = room if truncated[axis + 2] else 0
        return corner

    def _letterbox(self, image: FloatArray, visible: Sequence[FloatArray]) -> None:
        """Adds the grey bars of `letterboxed` to 70 % of the frames, as for pictures that are not square."""
        if self._rng.random() < 0.3:
            return
        bar, level = self._size * self._rng.uniform(0.08, 0.24), self._rng.random() < 0.75
        for part in (slice(0, int(bar)), slice(self._size - int(bar), self._size)):
            where = (part, slice(None)) if level else (slice(None), part)
            image[where] = LETTERBOX_GREY
            for each in visible:
                each[where] = 0


def _is_large(mask: ByteArray) -> bool:
    return bool(mask.any(axis=1).sum() >= 12 and mask.any(axis=0).sum() >= 6)


def box_of(mask: BoolArray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
