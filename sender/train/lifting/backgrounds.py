"""What is behind the people of clips: panoramas, photographs where nobody is, drawn rooms."""

import math
from typing import Final

import cv2
import numpy as np

from common.arrays import Float64Array, FloatArray, Image
from common.frames import Camera
from common.synthetic.scene.backgrounds import make_background
from sender.train.photographs.dataset import PhotographDataset
from sender.train.photographs.frames import perspective

# Side of the picture that a camera which turns sees parts of, over the longer side of its frames.
_WIDER: Final = 1.5
# Shares of panoramas and of photographs; the others are drawn.
_PANORAMAS, _PHOTOGRAPHS = 0.4, 0.35
_DRAWN_PX, _TRIES, _PATCH = 320, 20, (0.3, 0.8)


class Backgrounds:
    """Draws places (`photographs`: those of panoramas and of `openimages`; None: all are drawn)."""

    def __init__(self, photographs: PhotographDataset | None) -> None:
        self._photographs = photographs

    def draw(self, rng: np.random.Generator, camera: Camera, up: FloatArray) -> FloatArray:
        """A square (S, S, 3) with the camera's focal length, larger than its frames; `up` (3,) in camera space."""
        side, kind = round(_WIDER * max(camera.width, camera.height)), rng.random()
        patch = None
        if self._photographs and kind < _PANORAMAS:
            return _view(rng, self._photographs, camera, up, side)
        if self._photographs and kind < _PANORAMAS + _PHOTOGRAPHS:
            patch = _patch(rng, self._photographs)
        patch = make_background(rng, _DRAWN_PX) if patch is None else patch
        return np.asarray(cv2.resize(patch, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _view(
    rng: np.random.Generator, photographs: PhotographDataset, camera: Camera, up: FloatArray, side: int
) -> FloatArray:
    """What the camera sees of a panorama, in a random direction."""
    panorama = photographs[int(rng.choice(photographs.indices("panoramas")))].image
    pitch, roll = math.asin(float(np.clip(up[2], -1, 1))), -math.atan2(float(up[0]), -float(up[1]))
    view = 2 * math.atan(side / 2 / camera.focal_px)
    return perspective(panorama, float(rng.uniform(-np.pi, np.pi)), pitch, roll, view, side).astype(np.float32)


def _patch(rng: np.random.Generator, photographs: PhotographDataset) -> Image | None:
    """A square of a photograph in which nobody is annotated; None if none is found."""
    photograph = photographs[int(rng.choice(photographs.indices("openimages")))]
    height, width = photograph.image.shape[:2]
    taken = np.concatenate([photograph.boxes, photograph.crowds])
    for _ in range(_TRIES):
        side = int(min(height, width) * rng.uniform(*_PATCH))
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        apart = (taken[:, :2] >= [left + side, top + side]) | (taken[:, 2:] <= [left, top])
        if apart.any(axis=1).all():
            return photograph.image[top : top + side, left : left + side]
    return None


def seen_background(place: FloatArray, camera: Camera, turn: Float64Array) -> FloatArray:
    """The part (H, W, 3) of a place that a camera sees when it is turned by (3, 3); all is far away."""
    side, size = len(place), (camera.width, camera.height)
    warp = _lens(camera.focal_px, *size) @ turn @ np.linalg.inv(_lens(camera.focal_px, side, side))
    return np.asarray(cv2.warpPerspective(place, warp, size, borderMode=cv2.BORDER_REFLECT), np.float32)


def _lens(focal_px: float, width: int, height: int) -> Float64Array:
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
