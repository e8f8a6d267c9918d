"""Where a face is looked for."""

import numpy as np
import pytest

from sender.face.landmarks import face_px, region_of_keypoints

UPRIGHT = np.array([[100, 118], [120, 100], [80, 100]], np.float32)


def test_upright_face() -> None:
    region = region_of_keypoints(UPRIGHT)
    assert region.roll == 0
    assert region.centre[0] == pytest.approx(100, abs=1)
    assert 100 < region.centre[1] < 125
    assert face_px(region) == pytest.approx(2.2 * 40, rel=0.1)


def test_region_turns_with_the_face() -> None:
    turned = region_of_keypoints(np.array([[82, 100], [100, 120], [100, 80]], np.float32))
    assert turned.roll == pytest.approx(np.pi / 2)
    assert turned.side == pytest.approx(region_of_keypoints(UPRIGHT).side, abs=1)
    assert turned.centre[0] < 100


def test_face_that_looks_aside_is_behind_its_nose() -> None:
    nose_left = UPRIGHT - np.array([[15, 0], [0, 0], [0, 0]], np.float32)
    assert region_of_keypoints(nose_left).centre[0] > 105
