"""Paints glasses and gloves on photographs of people without: the judged ones are few.

What is painted is crude, and so varied that a network learns what all of it has in common: dark or light shapes before
the eyes, hands in other colours than faces.

Shapes: a picture (S, S, 3), keypoints (17, 3) in crop units with their visibility, masks (S, S) 0…1.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator

from common.arrays import ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import KEYPOINT_INDEX
from sender.wears.evidence import BodyAxes

# Who is less visible, or smaller than so many pixels between the eyes, is left as is.
_VISIBLE, _GLIMPSED, _LEAST_PX = 0.5, 0.35, 2.0
# Half the distance between the eyes of a face that looks at the camera, over the length of the torso.
_EYES = 0.055
_FINE_BITS = 4


def sunglasses(rng: Generator, picture: Image, mask: ByteArray, keypoints: FloatArray) -> Image | None:
    """Dark glasses, or goggles; None where the eyes cannot be seen."""
    face = _Face.seen(keypoints, picture)
    if face is None:
        return None
    canvas = _Canvas(picture)
    tone, opacity = _tone(rng, 0, 70) if rng.random() < 0.8 else _tone(rng, 60, 230), rng.uniform(0.7, 1)
    down = -face.axes.neck * face.scale * rng.uniform(0, 0.25)
    if rng.random() < 0.25:
        rim, glass = _tone(rng, 0, 255), rng.uniform(0.7, 1)
        for width, height, colour in ((rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.4), rim), (0.6, 0.65, tone)):
            size = 0.5 * face.apart + width * face.scale, height * face.scale
            canvas.blend(canvas.ellipse(face.middle + down, size, face.turn), colour, glass)
        face.bars(canvas, down, rim, opacity)
        return canvas.image
    size = face.half_width * rng.uniform(0.75, 1), face.scale * rng.uniform(0.5, 0.95)
    for eye in face.eyes:
        canvas.blend(canvas.ellipse(eye + down, size, face.turn), tone, opacity)
    face.bridge(canvas, down, tone, opacity)
    face.bars(canvas, down, tone, opacity)
    return canvas.image


def glasses(rng: Generator, picture: Image, mask: ByteArray, keypoints: FloatArray) -> Image | None:
    """Frames around the eyes; None where these cannot be seen."""
    face = _Face.seen(keypoints, picture)
    if face is None:
        return None
    canvas = _Canvas(picture)
    tone, opacity = _tone(rng, 0, 80) if rng.random() < 0.8 else _tone(rng, 60, 200), rng.uniform(0.35, 1)
    down = -face.axes.neck * face.scale * rng.uniform(0, 0.25)
    size = face.half_width * rng.uniform(0.75, 1), face.scale * rng.uniform(0.5, 0.95)
    thickness_px = max(1, round(0.16 * face.scale * canvas.size * rng.uniform(0.5, 2)))
    reflects = rng.random() < 0.3
    for eye in face.eyes:
        if reflects:
            canvas.blend(canvas.ellipse(eye + down, size, face.turn), np.array([235, 240, 245.0]), rng.uniform(0, 0.3))
        canvas.blend(canvas.ellipse(eye + down, size, face.turn, thickness_px), tone, opacity)
    face.bridge(canvas, down, tone, opacity)
    face.bars(canvas, down, tone, 0.8 * opacity)
    return canvas.image


def gloves(rng: Generator, picture: Image, mask: ByteArray, keypoints: FloatArray) -> Image | None:
    """Hands in another colour; None where no hand can be seen."""
    axes, canvas = BodyAxes.from_keypoints(keypoints[:, :2]), _Canvas(picture)
    body = np.clip(1.6 * cv2.resize(mask, (canvas.size, canvas.size)) / 255, 0, 1)
    tone = _tone(rng, 0, 60) if rng.random() < 0.45 else _tone(rng, 30, 255)
    size, cuff, luma, seen = rng.uniform(0.85, 1.4), rng.uniform(-0.05, 0.1), picture.mean(axis=2), False
    for side in ("left", "right"):
        if keypoints[KEYPOINT_INDEX[f"{side}_wrist"], 2] < _VISIBLE:
            continue
        wrist, along = axes.wrist(side)
        middle = wrist + along * axes.scale * (0.13 - cuff / 2)
        extent = axes.scale * size * np.array([0.15 + cuff / 2, 0.08])
        hand = _blurred(canvas.ellipse(middle, extent, _degrees(along)), 0.8) * body
        if hand.sum() < _LEAST_PX**2:
            continue
        shade = np.clip((luma + 20) / ((luma * hand).sum() / hand.sum() + 20), 0.5, 1.6)
        canvas.blend(hand, np.clip(0.9 * shade[..., None] * tone, 0, 255), rng.uniform(0.8, 1))
        seen = True
    return canvas.image if seen else None


PAINTERS: Mapping[str, Mapping[str, Callable[[Generator, Image, ByteArray, FloatArray], Image | None]]] = {
    "eyewear": {"sunglasses": sunglasses, "glasses": glasses},
    "hands": {"gloves": gloves},
}
"""Attribute → value → what paints it."""


class _Canvas:
    """A picture that is painted on."""

    def __init__(self, picture: Image) -> None:
        self._picture, self.size = picture.astype(np.float64), len(picture)

    @property
    def image(self) -> Image:
        return np.clip(self._picture, 0, 255).astype(np.uint8)

    def blend(self, mask: Float64Array, colour: Float64Array, opacity: float) -> None:
        share = (opacity * mask)[..., None]
        self._picture += share * (colour - self._picture)

    def places(self) -> Float64Array:
        """(S, S, 2) centres of the pixels, crop units."""
        rows, columns = np.indices((self.size, self.size))
        return (np.stack([columns, rows], axis=2) + 0.5) / self.size

    def ellipse(
        self, middle: Float64Array, size: Float64Array | tuple[float, float], turn: float, thickness_px: int = -1
    ) -> Float64Array:
        """One of half axes `size`, crop units, turned by degrees; filled, or a line."""
        mask = np.zeros((self.size, self.size), np.uint8)
        half = [max(round(each * self.size * 2**_FINE_BITS), 4) for each in size]
        cv2.ellipse(mask, self._fine(middle), half, turn, 0, 360, (255,), thickness_px, cv2.LINE_AA, _FINE_BITS)
        return mask / 255

    def line(self, start: Float64Array, end: Float64Array, thickness: float) -> Float64Array:
        mask, width = np.zeros((self.size, self.size), np.uint8), max(1, round(thickness * self.size))
        cv2.line(mask, self._fine(start), self._fine(end), (255,), width, cv2.LINE_AA, _FINE_BITS)
        return mask / 255

    def _fine(self, place: Float64Array) -> tuple[int, int]:
        x, y = (place * self.size * 2**_FINE_BITS).astype(int).tolist()
        return x, y


class _Face:
    """Where glasses go.

    Attributes:
        eyes: those that can be seen.
        apart: distance between both.
        scale: half of what it is seen from the front.
        half_width: of a lens.
        turn: of the line through both, degrees.
    """

    def __init__(self, keypoints: FloatArray) -> None:
        self.axes = BodyAxes.from_keypoints(keypoints[:, :2])
        self._keypoints = keypoints.astype(np.float64)
        left, right = (self._at(f"{side}_eye") for side in ("left", "right"))
        self.scale, self.middle, self.apart = _EYES * self.axes.scale, (left + right) / 2, _length(left - right)
        across = np.array([-self.axes.neck[1], self.axes.neck[0]])
        self.turn = _degrees(left - right if self.apart > 0.7 * self.scale else across)
        self.half_width = float(np.clip(0.5 * self.apart, 0.4 * self.scale, 1.6 * self.scale))
        self.eyes = [self._at(name) for name in ("left_eye", "right_eye") if self._shows(name, _GLIMPSED)]

    @classmethod
    def seen(cls, keypoints: FloatArray, picture: Image) -> "_Face | None":
        face = cls(keypoints)
        visible = face._shows("left_eye", _VISIBLE) or face._shows("right_eye", _VISIBLE)
        return face if visible and face.scale * len(picture) >= _LEAST_PX else None

    def bridge(self, canvas: _Canvas, down: Float64Array, tone: Float64Array, opacity: float) -> None:
        if len(self.eyes) == 2:
            start, end = self.eyes[0] + down, self.eyes[1] + down
            line = canvas.line(0.7 * start + 0.3 * end, 0.3 * start + 0.7 * end, 0.2 * self.scale)
            canvas.blend(line, tone, 0.9 * opacity)

    def bars(self, canvas: _Canvas, down: Float64Array, tone: Float64Array, opacity: float) -> None:
        """From the lenses to the ears."""
        for side in ("left", "right"):
            if self._shows(f"{side}_ear", _VISIBLE) and self._shows(f"{side}_eye", _GLIMPSED):
                eye, ear = self._at(f"{side}_eye"), self._at(f"{side}_ear")
                share = self.half_width / max(_length(ear - eye), 1e-6)
                if share < 1:
                    start, end = eye + down + share * (ear - eye), ear + 0.4 * self.scale * self.axes.neck
                    canvas.blend(canvas.line(start, end, 0.15 * self.scale), tone, 0.8 * opacity)

    def _at(self, name: str) -> Float64Array:
        return self._keypoints[KEYPOINT_INDEX[name], :2]

    def _shows(self, name: str, least: float) -> bool:
        return bool(self._keypoints[KEYPOINT_INDEX[name], 2] >= least)


def _tone(rng: Generator, low: float, high: float) -> Float64Array:
    """(3,) a colour of that brightness, mostly greyish."""
    return np.asarray(rng.uniform(low, high) * (1 - rng.uniform(0, 0.5) * rng.random(3)))


def _blurred(mask: Float64Array, sigma_px: float) -> Float64Array:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma_px), np.float64)


def _length(vector: Float64Array) -> float:
    return float(np.linalg.norm(vector))


def _degrees(vector: Float64Array) -> float:
    return float(np.degrees(np.arctan2(vector[1], vector[0])))
