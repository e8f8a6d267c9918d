"""Distractors: things with the outline of a person that are none, such as posts, signs, trees, seats, branches, bags.

A detector that was trained on people before smooth backgrounds alone takes every upright thing for a person (domain
randomisation with distractors: Tremblay et al. 2018).
"""

from collections.abc import Callable

import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray
from common.synthetic.scene.backgrounds import colour, texture

Generator = np.random.Generator

_LETTERS = "ABCDEFGHIKLMNOPRSTUVXYZ0123456789"


def distractor(rng: Generator, height: int) -> tuple[FloatArray, FloatArray]:
    """One distractor in a square of `height` pixels: colour (h, h, 3) 0…255 and alpha (h, h) 0…1."""
    shape = np.zeros((height, height), np.uint8)
    kind = int(rng.integers(len(_KINDS)))
    _KINDS[kind](rng, shape)
    surface = np.ascontiguousarray(texture(rng, height), np.float32)
    if _KINDS[kind] is _sign:
        surface = _lettered(rng, surface)
    alpha = cv2.GaussianBlur(shape, (0, 0), float(rng.uniform(0.3, 1.0))).astype(np.float32) / 255.0
    return _lit(rng, surface), alpha


def _lit(rng: Generator, surface: FloatArray) -> FloatArray:
    """Shades a surface from one side to the other, as on round objects."""
    across = np.linspace(-0.5, 0.5, len(surface), dtype=np.float32)
    light = 1 + rng.uniform(-0.9, 0.9) * across[None, :, None] + rng.uniform(-0.6, 0.6) * across[:, None, None]
    return np.asarray(np.clip(surface * light, 0, 255), np.float32)


def _post(rng: Generator, shape: ByteArray) -> None:
    """A post or column, often with a head or a foot: lamp, parking meter, hydrant, statue."""
    side = len(shape)
    middle, half = side // 2, max(1, int(side * np.exp(rng.uniform(np.log(0.01), np.log(0.15)))))
    lean = int(rng.normal(0, 0.03) * side)
    corners = [[middle - half, 0], [middle + half, 0], [middle + half + lean, side], [middle - half + lean, side]]
    cv2.fillConvexPoly(shape, np.array(corners, np.int32), 255)
    if rng.random() < 0.6:
        axes = (max(2, int(half * rng.uniform(1.0, 3.5))), max(2, int(side * rng.uniform(0.03, 0.12))))
        cv2.ellipse(shape, (middle, axes[1]), axes, 0, 0, 360, 255.0, -1)
    if rng.random() < 0.4:
        foot = int(half * rng.uniform(1.3, 3.0))
        cv2.rectangle(shape, (middle - foot, int(side * rng.uniform(0.85, 0.95))), (middle + foot, side), 255.0, -1)


def _sign(rng: Generator, shape: ByteArray) -> None:
    """A board, banner or poster, sometimes on a pole."""
    side = len(shape)
    half = rng.uniform([0.08, 0.06], [0.5, 0.4]) * side
    centre = np.array([side / 2, half[1]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ (np.eye(2) + rng.normal(0, 0.06, (2, 2)))
    cv2.fillConvexPoly(shape, (corners + centre).astype(np.int32), 255)
    if rng.random() < 0.5:
        width = max(1, int(side * rng.uniform(0.01, 0.05)))
        cv2.line(shape, (side // 2, int(half[1])), (side // 2, side), 255.0, width)


def _lettered(rng: Generator, surface: FloatArray) -> FloatArray:
    """A surface with letters on it."""
    side, pixels = len(surface), np.clip(surface, 0, 255).astype(np.uint8)
    ink = tuple(float(value) for value in colour(rng, 0.3))
    for _ in range(int(rng.integers(1, 5))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 9))))
        at = (int(rng.uniform(-0.1, 0.4) * side), int(rng.uniform(0.05, 0.7) * side))
        scale = float(side * np.exp(rng.uniform(np.log(0.004), np.log(0.02))))
        cv2.putText(pixels, text, at, int(rng.integers(0, 5)), scale, ink, max(1, int(2 * scale)), cv2.LINE_AA)
    return pixels.astype(np.float32)


def _tree(rng: Generator, shape: ByteArray) -> None:
    """A trunk with a crown of blobs, or a bush."""
    side = len(shape)
    level = rng.uniform(0.2, 0.7) * side
    width = max(1, int(side * rng.uniform(0.02, 0.12)))
    cv2.line(shape, (side // 2, int(level)), (side // 2 + int(rng.normal(0, 0.05) * side), side), 255.0, width)
    for _ in range(int(rng.integers(6, 40))):
        at = rng.normal([side / 2, level / 2], [0.16 * side, 0.2 * side])
        cv2.circle(shape, (int(at[0]), int(at[1])), max(1, int(side * rng.uniform(0.02, 0.14))), 255.0, -1)


def _seat(rng: Generator, shape: ByteArray) -> None:
    """A chair, table or bicycle rack: a few surfaces on thin legs."""
    side = len(shape)
    left, right = rng.uniform(0.05, 0.3) * side, rng.uniform(0.7, 0.95) * side
    level = rng.uniform(0.4, 0.65) * side
    thick = max(1, int(side * rng.uniform(0.02, 0.12)))
    cv2.line(shape, (int(left), int(level)), (int(right), int(level + rng.normal(0, 0.05) * side)), 255.0, thick)
    leg = max(1, int(side * rng.uniform(0.015, 0.06)))
    for x in (left, left + 0.3 * (right - left), right - 0.2 * (right - left), right):
        cv2.line(shape, (int(x), int(level)), (int(x + rng.normal(0, 0.06) * side), side), 255.0, leg)
    if rng.random() < 0.7:
        back = int(left if rng.random() < 0.5 else right)
        width = max(1, int(side * rng.uniform(0.03, 0.25)))
        cv2.line(shape, (back, int(level)), (back + int(rng.normal(0, 0.08) * side), 0), 255.0, width)


def _branches(rng: Generator, shape: ByteArray) -> None:
    """Thick strokes that fork: branches, hoses, railings, racks."""
    side = len(shape)
    ends = [rng.uniform(0.2, 0.8, 2) * side]
    width = side * np.exp(rng.uniform(np.log(0.02), np.log(0.12)))
    for _ in range(int(rng.integers(3, 9))):
        start = ends[rng.integers(len(ends))]
        angle, reach = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.15, 0.5)
        end = start + reach * np.array([np.cos(angle), np.sin(angle)])
        points = [(int(point[0]), int(point[1])) for point in (start, end)]
        cv2.line(shape, points[0], points[1], 255.0, max(1, int(width * rng.uniform(0.5, 1.2))))
        ends.append(end)


def _bag(rng: Generator, shape: ByteArray) -> None:
    """A few overlapping blobs: bags, animals, bundles, toys."""
    side = len(shape)
    at = rng.uniform(0.35, 0.65, 2) * side
    for _ in range(int(rng.integers(1, 6))):
        axes = [max(1, int(value)) for value in rng.uniform(0.06, 0.3, 2) * side]
        cv2.ellipse(shape, (int(at[0]), int(at[1])), axes, float(rng.uniform(0, 180)), 0, 360, 255.0, -1)
        at = np.clip(at + rng.normal(0, 0.18, 2) * side, 0.1 * side, 0.9 * side)


_KINDS: tuple[Callable[[Generator, ByteArray], None], ...] = (_post, _sign, _tree, _seat, _branches, _bag)
