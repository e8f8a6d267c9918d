"""Alpha compositing of a rendered person: background, bystanders, occluders, image borders."""

from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from common.arrays import ByteArray, FloatArray
from common.synthetic.dataset.presets import WIDE, DatasetPreset
from common.synthetic.renderer.renderer import Rendering
from common.synthetic.scene.backgrounds import BackgroundBank, colour
from common.synthetic.scene.framing import WHOLE

_MIN_VISIBLE_SHARE = 0.35
"""An occluder that would leave less than this share of the person visible is omitted."""


@dataclass(frozen=True)
class Layer:
    """An image with premultiplied alpha.

    Args:
        colour: (S, S, 3) float32 RGB 0…255, premultiplied.
        alpha: (S, S, 1) float32 coverage 0…1.
    """

    colour: FloatArray
    alpha: FloatArray

    @classmethod
    def from_rendering(cls, rendering: Rendering) -> Self:
        """The rendering at half its resolution, which smooths the outline."""
        height, width = rendering.part.shape
        small = cv2.resize(rendering.colour.astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cls(np.asarray(small[..., :3], np.float32), np.asarray(small[..., 3:] / 255, np.float32))

    def over(self, background: FloatArray) -> FloatArray:
        """This layer composited over a background (S, S, 3)."""
        return self.colour + (1 - self.alpha) * background


def compose(
    rng: Generator,
    person: Layer,
    backgrounds: BackgroundBank,
    others: list[Layer],
    box: FloatArray,
    crop_kind: int,
    preset: DatasetPreset = WIDE,
) -> tuple[FloatArray, ByteArray]:
    """Composites a crop (S, S, 3) of a person, RGB 0…255, and its mask (S, S), 255 where the person is visible, else 0.

    Args:
        person: the person of the ground truth.
        others: people of the same size to draw bystanders and occluders from.
        box: (4,) left, top, right, bottom of the regions that the crop is fitted to, crop units.
        crop_kind: `Framing.kind`; a truncated person is often at the border of the camera's image.
        preset: probabilities of bystanders and occluders.
    """
    size = len(person.colour)
    image = backgrounds.draw(rng, size, size)
    if others and rng.random() < preset.bystanders:
        for _ in range(rng.integers(1, 4)):
            image = _bystander(rng, others, rng.uniform(0.3, 1.0)).over(image)
    if rng.random() < 0.3:
        image = _with_shadow(rng, image, box)
    image = person.over(image)
    alpha = person.alpha[..., 0]
    draw = rng.random()
    front: Layer | None = None
    person_probability = preset.occluders / 2
    if others and draw < person_probability:
        front = _bystander(rng, others, rng.uniform(0.8, 1.5))
    elif draw < person_probability + preset.occluders:
        front = occluder(rng, size, backgrounds)
    if front is not None:
        visible = alpha * (1 - front.alpha[..., 0])
        if visible.sum() > _MIN_VISIBLE_SHARE * alpha.sum():
            image, alpha = front.over(image), visible
    mask = (alpha >= 0.5).astype(np.uint8) * 255
    if rng.random() < (0.12 if crop_kind == WHOLE else 0.4):
        _pad_border(rng, image, mask, box, crop_kind)
    return image, mask


def _bystander(rng: Generator, others: list[Layer], scale: float) -> Layer:
    """Another person, scaled, shifted to one side and perhaps mirrored."""
    layer = others[rng.integers(len(others))]
    size = len(layer.colour)
    side = 1 if rng.random() < 0.5 else -1
    x = size * (0.5 + side * rng.uniform(0.28, 0.6) * max(scale, 0.8))
    y = size * rng.uniform(0.35, 0.65)
    flip = -1 if rng.random() < 0.5 else 1
    matrix = np.array([[flip * scale, 0, x - flip * scale * size / 2], [0, scale, y - scale * size / 2]], np.float32)
    moved = cv2.warpAffine(np.dstack([layer.colour, layer.alpha]), matrix, (size, size), flags=cv2.INTER_LINEAR)
    gain = np.float32(rng.uniform(0.6, 1.2))
    return Layer(np.asarray(moved[..., :3] * gain, np.float32), np.asarray(moved[..., 3:], np.float32))


def occluder(rng: Generator, size: int, backgrounds: BackgroundBank) -> Layer:
    """A simple shape in one colour or with the texture of a background."""
    canvas = np.zeros((2 * size, 2 * size), np.uint8)
    kind = rng.random()
    centre = rng.uniform(0.15, 0.85, 2) * 2 * size
    if kind < 0.25:  # a table or a window sill: everything below a line
        level, slope = rng.uniform(0.55, 0.95) * 2 * size, rng.normal(0, 0.1) * size
        corners = np.array([[0, level - slope], [2 * size, level + slope], [2 * size, 2 * size], [0, 2 * size]])
        cv2.fillConvexPoly(canvas, corners.astype(np.int32), 255)
    elif kind < 0.55:  # a box
        half = rng.uniform(0.05, 0.3, 2) * size
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ (np.eye(2) + rng.normal(0, 0.2, (2, 2)))
        cv2.fillConvexPoly(canvas, (corners + centre).astype(np.int32), 255)
    elif kind < 0.75:  # a round object
        axes = (int(rng.uniform(0.05, 0.3) * size), int(rng.uniform(0.05, 0.3) * size))
        cv2.ellipse(canvas, centre.astype(int).tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255.0, -1)
    else:  # a bar or a limb
        angle, width = rng.uniform(0, np.pi), int(rng.uniform(0.03, 0.14) * size)
        end = centre + np.array([np.cos(angle), np.sin(angle)], np.float32) * size * rng.uniform(0.4, 3)
        cv2.line(canvas, centre.astype(int).tolist(), end.astype(int).tolist(), 255.0, max(width, 2))
    alpha = np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255, np.float32)
    plain = rng.random() < 0.5
    surface = np.broadcast_to(colour(rng), (size, size, 3)) if plain else backgrounds.draw(rng, size, size)
    return Layer(np.asarray(surface * alpha, np.float32), alpha)


def _with_shadow(rng: Generator, image: FloatArray, box: FloatArray) -> FloatArray:
    """The image with a soft contact shadow at the lower edge of the box."""
    size = len(image)
    shadow = np.zeros((size, size), np.float32)
    centre = (int((box[0] + box[2]) / 2 * size), int(box[3] * size))
    axes = (int((box[2] - box[0]) * size * rng.uniform(0.3, 0.7)) + 1, int(size * rng.uniform(0.01, 0.06)) + 1)
    cv2.ellipse(shadow, centre, axes, 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(shadow, (0, 0), size * 0.02)[..., None]
    return np.asarray(image * (1 - rng.uniform(0.2, 0.7) * soft), np.float32)


def _pad_border(rng: Generator, image: FloatArray, mask: ByteArray, box: FloatArray, crop_kind: int) -> None:
    """Simulates a camera image that ends inside the crop: pads one side with black, grey, or its border pixels."""
    size = len(image)
    if crop_kind == WHOLE:
        side = int(rng.integers(4))
        inside = rng.uniform(0, 0.15)
    else:
        side, inside = 3, rng.uniform(-0.04, 0.03)
    edge = float(box[side]) + (inside if side < 2 else -inside)
    line = int(np.clip(edge, 0, 1) * size)
    if not 2 < line < size - 2:
        return
    pixels, visible = _side_to_left(image, side), _side_to_left(mask, side)
    line = line if side < 2 else size - line
    fill = rng.random()
    if np.count_nonzero(visible[:, :line]) > 0.35 * np.count_nonzero(visible):
        return
    pixels[:, :line] = 0 if fill < 0.5 else (114 if fill < 0.6 else pixels[:, line : line + 1])
    visible[:, :line] = 0


def _side_to_left(array: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """A view of the array in which the left, top, right or bottom (0…3) border is on the left."""
    if side % 2:
        array = array.swapaxes(0, 1)
    return array[:, ::-1] if side >= 2 else array
