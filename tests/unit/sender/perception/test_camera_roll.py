import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import COCO_KEYPOINTS
from sender.perception.crop import CropBox
from sender.perception.read import CameraRoll
from tests.support.pictures.preview_samples import MASK, observed

CROP = CropBox(100, 50, 200)
_ALL = np.ones(17, np.bool_)
_FULL = np.ones((MASK, MASK), np.bool_)


def standing(lean_deg: float) -> FloatArray:
    """(17, 2) in crop units: somebody whose feet, hips and shoulders are on a line that leans clockwise."""
    heights = {"shoulder": 0.3, "hip": 0.0, "ankle": -0.4}
    lean = np.radians(lean_deg)
    places = np.full((17, 2), 0.5, np.float32)
    for row, name in enumerate(COCO_KEYPOINTS):
        side = {"left": 0.06, "right": -0.06}.get(name.split("_")[0], 0.0)
        height = heights.get(name.split("_")[-1], 0.3)
        places[row] += [height * np.sin(lean) + side * np.cos(lean), -height * np.cos(lean) + side * np.sin(lean)]
    return places


def see(roll: CameraRoll, lean_deg: float, crop: CropBox = CROP, step_s: float = 1 / 30) -> None:
    person = observed(crop, _FULL, keypoints_2d=standing(lean_deg), visible=_ALL)
    roll.observe(person.output, person.crop, step_s)


def test_people_who_all_lean_tell_the_roll() -> None:
    roll = CameraRoll()
    for frame in range(20):
        see(roll, 25.0 + (-3.0) ** (frame % 2))
    assert np.degrees(roll.radians) == pytest.approx(25, abs=4)


@pytest.mark.parametrize("lean_deg", [0.0, 8.0, 80.0, 180.0])
def test_level_cameras_and_lying_people_change_nothing(lean_deg: float) -> None:
    roll = CameraRoll()
    for _ in range(50):
        see(roll, lean_deg)
    assert roll.radians == 0.0


def test_people_who_lean_in_all_directions_tell_nothing() -> None:
    roll = CameraRoll()
    for frame in range(60):
        see(roll, 50.0 if frame % 2 else -10.0)
    assert roll.radians == 0.0


@pytest.mark.parametrize("fps", [5, 240])
def test_roll_follows_as_fast_at_any_frame_rate(fps: int) -> None:
    roll, frames = CameraRoll(), 0
    for _ in range(10 * fps):
        see(roll, 25.0, step_s=1 / fps)
    while roll.radians:
        see(roll, 0.0, step_s=1 / fps)
        frames += 1
    assert frames / fps == pytest.approx(4.7, abs=0.3)
