import numpy as np
import pytest

from common.arrays import BoolArray, FloatArray, Image
from sender.perception.crop import CropBox
from sender.preview.draw import (
    LEFT,
    RIGHT,
    TINT_OPACITY,
    draw_preview,
    draw_skeleton,
    identity_colour,
    tint_mask,
)
from tests.support.pictures.preview_samples import MASK, block, observed

COLOUR = (200, 40, 90)


def grey(height: int = 240, width: int = 320) -> Image:
    return np.full((height, width, 3), 120, np.uint8)


def logits(mask: BoolArray) -> FloatArray:
    return np.where(mask, 8.0, -8.0).astype(np.float32)


def corners(left: float, top: float, right: float, bottom: float) -> FloatArray:
    return np.array([[left, top], [right, top], [left, bottom]], np.float32)


def changed(before: Image, after: Image) -> BoolArray:
    return np.asarray((before != after).any(axis=2))


def test_mask_tints_only_the_persons_pixels() -> None:
    canvas = grey()
    tint_mask(canvas, logits(block(0.25, 0.5, 0.75, 1.0)), corners(100, 60, 100 + 2 * MASK, 60 + 2 * MASK), COLOUR)
    touched = changed(grey(), canvas)
    inside = np.zeros_like(touched)
    inside[93:123, 117:147] = True
    assert touched[inside].all()
    # The soft outline is as wide as the distance between the centres of two cells; a cell is two pixels wide.
    inside[91:126, 115:149] = True
    assert not touched[~inside].any()
    assert canvas[108, 132] == pytest.approx(120 + TINT_OPACITY * (np.array(COLOUR) - 120), abs=1)


def test_keypoints_are_at_their_positions_and_sides_differ_in_colour() -> None:
    canvas = grey()
    points = np.full((17, 2), 200.0, np.float32)
    points[9], points[10], points[7], points[8] = (50.5, 60.5), (250.5, 60.5), (50.5, 120.5), (250.5, 120.5)
    draw_skeleton(canvas, points, np.ones(17, np.bool_))
    for column, colour in ((50, LEFT), (250, RIGHT)):
        assert tuple(canvas[60, column]) == colour
        assert tuple(canvas[90, column]) == colour, "the bone from elbow to wrist"
        _, x = np.nonzero(changed(grey(), canvas)[50:65, column - 10 : column + 11])
        assert x.mean() == pytest.approx(10, abs=0.1)
    assert not changed(grey(), canvas)[:50].any()


def test_invisible_keypoints_are_dark() -> None:
    points = np.full((17, 2), 200.0, np.float32)
    points[9], points[7] = (50.5, 60.5), (50.5, 120.5)
    hidden, seen = grey(), np.ones(17, np.bool_)
    seen[9] = False
    draw_skeleton(hidden, points, seen)
    assert (hidden[[60, 90], 50] < 80).all() and (hidden[[60, 90], 53] == 120).all(), "and thin"
    assert tuple(hidden[120, 50]) == LEFT, "the elbow itself is visible"


def test_person_gets_mask_box_and_label() -> None:
    person = observed(CropBox(20, 60, 128), block(0.25, 0.25, 0.75, 0.75))
    canvas = draw_preview(grey(), (person,))
    colour = identity_colour(0)
    assert canvas[110, 60] == pytest.approx(120 + TINT_OPACITY * (np.array(colour) - 120), abs=1)
    assert canvas[96:155, 52] == pytest.approx(np.tile(colour, (59, 1)), abs=90), "left side of the box"
    assert changed(grey(), canvas)[75:88, 52:110].any(), "the label above the box"
    assert not changed(grey(), canvas)[:60].any()
