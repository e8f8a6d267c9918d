from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest

from common.arrays import FloatArray
from common.frames import Camera
from sender.perception.crop import CropBox, to_frame
from sender.semantics.bodies import CROSS, ENTRIES, orientation, pelvis_in_crop
from sender.semantics.lifting_network import (
    FITTED,
    KEYPOINT_SCALE,
    MOVED,
    Observations,
    WindowCamera,
    crop_in_focal_lengths,
    mean_crop,
)
from sender.semantics.lifting_network import tokens as tokens_in

_PLACES = slice(0, 34)
_CAMERA = Camera(640, 480, 700.0)
_CROPS = (CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2))


def observations() -> Observations:
    """One person in the three crops, with the predicted entries of each."""
    frames, rng = len(_CROPS), np.random.default_rng(3)
    entries = rng.normal(0, 0.4, (1, frames, ENTRIES)).astype(np.float32) + np.eye(ENTRIES, dtype=np.float32)[0]
    boxes = [crop_in_focal_lengths(crop, _CAMERA) for crop in _CROPS]
    per_keypoint = rng.uniform(0.1, 0.9, (1, frames, 17)).astype(np.float32)
    return Observations(
        time_s=np.arange(frames)[None] / 30,
        centre=np.stack([centre for centre, _ in boxes])[None],
        side=np.array([[side for _, side in boxes]], np.float32),
        roll=np.array([[crop.roll for crop in _CROPS]], np.float32),
        seen=np.ones((1, frames), bool),
        view=np.array([[0, 1, 0.5]], np.float32),
        keypoints=rng.uniform(0, 1, (1, frames, 17, 2)).astype(np.float32),
        sigma=per_keypoint,
        visible=per_keypoint,
        entries=entries,
        log_sigma=np.zeros((1, frames, ENTRIES), np.float32),
        smoothed=entries + rng.normal(0, 0.1, entries.shape).astype(np.float32),
        joints_3d=rng.normal(0, 0.5, (1, frames, 17, 3)).astype(np.float32),
        joints_log_variance=per_keypoint,
        joint_depth=per_keypoint,
        depth_log_variance=np.zeros((1, frames), np.float32),
    )


def tokens(window: Observations, counted: Sequence[bool] = (True, True, True)) -> tuple[FloatArray, WindowCamera]:
    """In the camera of the mean crop of some frames."""
    centre, side = mean_crop(window, np.array([counted]))
    camera = WindowCamera.through(centre, side)
    return tokens_in(window, camera, side), camera


def test_keypoints_of_any_crop_are_where_their_pixels_are() -> None:
    """The same pixels, read in other crops, give the same token, and the window camera projects to them."""
    window = observations()
    pixels = np.random.default_rng(0).uniform(100, 400, (17, 2)).astype(np.float32)
    keypoints = np.stack([crop.to_units(pixels) for crop in _CROPS])[None]
    found, camera = tokens(replace(window, keypoints=keypoints), (False, True, False))
    places = found[0, :, _PLACES].reshape(3, 17, 2) / KEYPOINT_SCALE + 0.5
    npt.assert_allclose(places, np.broadcast_to(places[:1], places.shape), atol=1e-4)
    depth = np.linspace(2, 5, 17)[:, None]
    points = np.concatenate([(pixels - [320, 240]) / 700 * depth, depth], 1) @ camera.rotation[0]
    npt.assert_allclose(places[0], 0.5 + camera.focal[0] * points[:, :2] / points[:, 2:], atol=1e-4)


@pytest.mark.parametrize("name", ["entries", "smoothed"])
def test_predicted_bodies_are_where_each_crop_has_them(name: str) -> None:
    """The entries of a token, taken from the window camera to the frame, are those taken there from the crop."""
    window = observations()
    found, camera = tokens(window)
    entries = found[0, :, FITTED] + (found[0, :, MOVED] if name == "smoothed" else 0)
    every = WindowCamera(np.repeat(camera.rotation, 3, 0), np.repeat(camera.focal, 3))
    turns, pelvises = every.in_frame(entries)
    npt.assert_allclose(every.entries_of(turns, pelvises), entries[:, :9], atol=1e-4)
    for row, crop in enumerate(_CROPS):
        own = getattr(window, name)[0, row : row + 1]
        pelvis = pelvis_in_crop(own, np.full((1, 1), _CAMERA.focal_px / crop.side, np.float32))
        turn, place = to_frame(orientation(own, CROSS)[0], pelvis[0], crop, _CAMERA)
        npt.assert_allclose(turns[row], turn, atol=1e-4)
        npt.assert_allclose(pelvises[row], place, atol=2e-3)
