from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.model import axis_angle_to_matrix
from common.frames import Camera
from sender.perception.crop import OTHER, CropBox, View, ViewMean, ViewTurns, ray_rotation, to_frame

CAMERA = Camera(width=1280, height=720, focal_px=1500.0)
CENTRED = CropBox(left=540, top=260, side=200)


def project(points: Float64Array | FloatArray) -> Float64Array:
    """Pixels of points in the frame's camera."""
    centre = np.array([CAMERA.width / 2, CAMERA.height / 2])
    return np.asarray(points[..., :2] / points[..., 2:] * CAMERA.focal_px + centre, np.float64)


def focal_in_crop(crop: CropBox) -> float:
    """Focal length of the crop's camera in crop widths.

    Off the axis, an image plane is stretched by 1/cos θ tangentially and by 1/cos² θ radially; the geometric mean of
    both is taken.
    """
    return float(CAMERA.focal_px / crop.side / ray_rotation(crop, CAMERA)[2, 2] ** 1.5)


def crop_around(pixel: tuple[float, float], side: int) -> CropBox:
    return CropBox(round(pixel[0] - side / 2), round(pixel[1] - side / 2), side)


def test_rotation_turns_axis_to_crop() -> None:
    assert np.allclose(ray_rotation(CENTRED, CAMERA), np.eye(3), atol=1e-6)
    for pixel in ((100, 100), (1200, 400), (640, 700)):
        rotation = ray_rotation(crop_around(pixel, 100), CAMERA)
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)
        assert project(rotation[:, 2]) == pytest.approx(np.array(pixel), abs=0.01)


@pytest.mark.parametrize("roll", [0.0, -0.4, 0.7])
@pytest.mark.parametrize(("pixel", "tolerance"), [((640, 360), 1e-5), ((900, 360), 0.01), ((1150, 600), 0.02)])
def test_keypoints_in_crop_match_projection_in_frame(pixel: tuple[int, int], tolerance: float, roll: float) -> None:
    crop = replace(crop_around(pixel, 200), roll=roll)
    in_crop = np.random.default_rng(0).uniform(-0.2, 0.2, (17, 3)) + np.array([0.0, 0.0, 5.0])
    seen = in_crop[:, :2] / in_crop[:, 2:] * focal_in_crop(crop) + 0.5
    in_frame = project(in_crop @ ray_rotation(crop, CAMERA).T)
    error = np.abs(in_frame - crop.to_pixels(seen.astype(np.float32))).max() / crop.side
    assert error < tolerance


def test_body_in_frame_projects_to_its_position_in_crop() -> None:
    crop, camera = crop_around((1000, 500), 240), CAMERA
    nominal = camera.focal_px / crop.side
    extent, u, v = 2.0, 0.55, 0.45
    in_crop = np.array([(u - 0.5) * extent, (v - 0.5) * extent, extent * nominal], np.float32)
    root = axis_angle_to_matrix(torch.tensor([0.1, 0.4, -0.2])).numpy()
    orientation, translation = to_frame(root, in_crop, crop, camera)
    expected = crop.to_pixels(np.array([u, v], dtype=np.float32))
    assert np.abs(project(translation) - expected).max() < 0.02 * crop.side
    assert np.allclose(orientation, ray_rotation(crop, camera) @ root, atol=1e-6)


def test_body_far_off_the_axis_has_the_size_that_the_crop_shows() -> None:
    crop = crop_around((1250, 700), 200)
    extent = 2.0
    in_crop = np.array([0.0, 0.0, extent * CAMERA.focal_px / crop.side], np.float32)
    orientation, translation = to_frame(np.eye(3, dtype=np.float32), in_crop, crop, CAMERA)
    one, other = (
        np.diff(project(np.stack([translation, translation + 0.1 * side])), axis=0)[0] for side in orientation.T[:2]
    )
    area_px = abs(one[0] * other[1] - one[1] * other[0])
    assert np.sqrt(area_px) / crop.side == pytest.approx(0.1 / extent, rel=0.02)


def test_cut_is_black_beyond_border() -> None:
    image = np.full((100, 100, 3), 200, dtype=np.uint8)
    cut = CropBox(left=-32, top=0, side=64).cut(image, 64)
    assert (cut[:, :32] == 0).all() and (cut[:, 32:] == 200).all()
    assert (CropBox(left=300, top=0, side=64).cut(image, 32) == 0).all()


@pytest.mark.parametrize("roll", [0.0, 0.5, -0.8])
def test_units_and_pixels_are_inverse(roll: float) -> None:
    crop = CropBox(left=40, top=90, side=64, roll=roll)
    positions = np.random.default_rng(0).random((9, 2), np.float32)
    assert crop.to_units(crop.to_pixels(positions)) == pytest.approx(positions, abs=1e-5)
    assert crop.to_pixels(np.array([0.5, 0.5], np.float32)) == pytest.approx(np.array(crop.centre))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_rolled_crop_shows_what_is_upright_along_its_axis(size: int) -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    # A person's head to the upper right of their feet: 30° clockwise.
    head, feet = np.array([120.0, 65.4]), np.array([80.0, 134.6])
    for x, y in np.round([head, feet]).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = CropBox(left=50, top=50, side=100, roll=np.radians(30))
    shown = crop.cut(image, size)[..., 0].astype(float)
    for place, rows in ((head, slice(0, size // 2)), (feet, slice(size // 2, size))):
        weight = np.zeros_like(shown)
        weight[rows] = shown[rows]
        row, column = ((np.indices(shown.shape) + 0.5) * weight).sum(axis=(1, 2)) / weight.sum() / size
        assert [column, row] == pytest.approx(crop.to_units(place), abs=0.01)
        assert column == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("wanted", "side"), [(45, 45), (319, 319), (441, 440), (899, 900), (1501, 1504)])
def test_side_of_large_crop_can_be_halved(wanted: int, side: int) -> None:
    assert CropBox.around([0, 0, wanted, wanted], 1.0).side == side


@pytest.mark.parametrize("side", [440, 900, 1504])
def test_large_crop_is_halved_and_shows_what_one_step_would(side: int) -> None:
    crop = CropBox(0, 0, side)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([255 * x, 255 * y, 127 + 127 * np.sin(40 * x) * np.cos(30 * y)], axis=-1).astype(np.uint8)
    seen, expected = crop.cut(image, 192), cv2.resize(image, (192, 192), interpolation=cv2.INTER_AREA)
    difference = np.abs(seen.astype(int) - expected)[2:-2, 2:-2]
    assert difference.mean() < 1
    assert difference.max() < 6


BIAS = np.array([0.5, -0.25, 0.0], np.float32)
SIGNS = {"both": 0, "plain": 1, "mirrored": -1}


def seen(truth: FloatArray, view: View) -> FloatArray:
    return np.asarray(truth + SIGNS[view] * BIAS, np.float32)


def means(velocity: float, frames: int = 6) -> list[FloatArray]:
    """Of somebody who moves steadily; both views in the first frame."""
    person = ViewMean()
    view: View = "both"
    found = []
    for number in range(frames):
        found.append(person.add(view, seen(np.full(3, velocity * number, np.float32), view), number / 30))
        view = "plain" if view == "both" else OTHER[view]
    return found


@pytest.mark.parametrize(("velocity", "known_after"), [(0.0, 0), (0.2, 3)])
def test_person_at_rest_or_in_steady_motion_is_where_both_views_show_them(velocity: float, known_after: int) -> None:
    truth = velocity * np.arange(6)[:, None] * np.ones(3)
    np.testing.assert_allclose(means(velocity)[known_after:], truth[known_after:], atol=1e-6)


def test_each_view_twice_does_not_move_somebody_who_rests_or_moves_steadily() -> None:
    for velocity in (0.0, 0.2):
        person, found = ViewMean(), []
        two: list[View] = ["plain", "plain", "mirrored", "mirrored"]
        views: list[View] = ["both", *two, *two, *two]
        for number, view in enumerate(views):
            truth = np.full(3, velocity * number, np.float32)
            found.append(person.add(view, seen(truth, view), number / 30) - truth)
        assert float(np.abs(found[5:]).max()) < 1e-5


def test_other_view_of_long_ago_says_nothing() -> None:
    person = ViewMean()
    person.add("plain", BIAS, 0.0)
    assert person.add("mirrored", -BIAS, 0.3).tolist() == (-BIAS).tolist()


def test_view_that_comes_twice_since_a_frame_was_missed() -> None:
    person = ViewMean()
    person.add("plain", BIAS, 0.0)
    assert person.add("plain", 2 * BIAS, 0.1).tolist() == (2 * BIAS).tolist()


@pytest.mark.parametrize(("live", "views"), [(False, ["both", "both"]), (True, ["both", "plain"])])
def test_pauses_of_a_camera_are_the_machines(live: bool, views: list[View]) -> None:
    turns, person = ViewTurns(live=live), ViewMean()
    found: list[View] = []
    for time_s in (0.0, 0.2):
        found.append(turns.next_view([person], time_s))
        person.add(found[-1], BIAS, time_s)
    assert found == views
