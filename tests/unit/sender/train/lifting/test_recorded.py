"""Windows of clips, and their errors, of clips in which nobody errs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.body.rotations import matrix_to_axis_angle
from common.frames import Camera
from common.synthetic.motion.windows import open_windows, write_windows
from sender.perception.inference.crop import CropBox, ray_rotation
from sender.semantics.crop_labels import crop_entries
from sender.train.lifting.errors import keypoint_errors, perceived_errors
from sender.train.lifting.recorded import RecordedClips
from tests.support.made_motion import gliding

_CAMERA, _CROP, _FRAMES = Camera(640, 480, 700.0), CropBox(120, 30, 380, 0.2), 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> RecordedClips:
    folder: Path = tmp_path_factory.mktemp("clips")
    write_windows([gliding("cmu/013_18", _FRAMES, 0.3)], folder / "windows", 30.0)
    bodies = open_windows(folder / "windows").bodies(np.arange(_FRAMES), (0.3, 0.2, 0.3, 0.2))
    bodies = replace(bodies, translation=bodies.translation + torch.tensor([-0.3, 0.6, 4.0]))
    keypoints = KeypointKinematics(BodyModel.load())(bodies)[0]
    turn = torch.from_numpy(ray_rotation(_CROP, _CAMERA)).float()
    root = torch.cat([turn.T @ bodies.rotations[:, :1], bodies.rotations[:, 1:]], 1)
    stretched = bodies.translation @ turn * torch.tensor([1.0, 1.0, float(turn[2, 2]) ** 1.5])
    focal = torch.full((_FRAMES,), _CAMERA.focal_px / _CROP.side)
    entries = crop_entries(LabelSpace.load(), replace(bodies, rotations=root, translation=stretched), focal)
    places = _CROP.to_units(_CAMERA.project(keypoints.reshape(-1, 3).numpy())).reshape(_FRAMES, 17, 2)
    joints = ((keypoints - bodies.translation[:, None]) @ turn).numpy()
    scored = np.concatenate([places, np.full((_FRAMES, 17, 1), 0.7)], -1)
    unsure, none = np.full((_FRAMES, 17), -5.0, np.float32), np.zeros(_FRAMES, np.float32)
    arrays = {
        "seen": np.arange(_FRAMES) != 5,
        "crop": np.tile([_CROP.left, _CROP.top, _CROP.side, _CROP.roll], (_FRAMES, 1)).astype(np.float32),
        "keypoints_2d": places,
        "keypoints_sigma": unsure + 5.02,
        "visible_logit": unsure + 8,
        "joints_3d": joints,
        "joints_log_variance": unsure,
        "joint_depth": joints[..., 2],
        "depth_log_variance": none,
        "pose_entries": entries.numpy(),
        "pose_log_sigma": np.zeros((_FRAMES, 80), np.float32),
        "lightning": scored,
        "thunder": scored,
        "time_s": np.arange(_FRAMES) / 30,
        "rotations": matrix_to_axis_angle(bodies.rotations).numpy(),
        "curl": bodies.curl.numpy(),
        "shape": np.zeros(10, np.float32),
        "translation": bodies.translation.numpy(),
        "keypoints_3d": keypoints.numpy(),
        "contacts": np.ones((_FRAMES, 4), bool),
        "camera": np.array([640, 480, 700], np.float32),
        "up": np.tile([0, -1, 0], (_FRAMES, 1)).astype(np.float32),
        "moving": np.array(False),
    }
    np.savez(folder / "0000.npz", **arrays)
    return RecordedClips(folder)


def test_clips_in_which_nobody_errs(clips: RecordedClips) -> None:
    moving, _, (read, perceived), seen = clips.draw(20, 8, np.random.default_rng(0))
    npt.assert_allclose(read.offset, 0, atol=1e-3)
    npt.assert_allclose(perceived.entries[..., 6:], 0, atol=5e-3)
    npt.assert_allclose(perceived.turn, np.broadcast_to(np.eye(3), perceived.turn.shape), atol=1e-3)
    npt.assert_allclose(perceived.joints_3d, 0, atol=1e-4)
    npt.assert_array_equal(seen, ~np.isclose(moving.time_s, 5 / 30))
    assert moving.inside.all()


def test_transplanted_errors_are_those_of_the_clips(clips: RecordedClips) -> None:
    """Keypoints that are outside of the picture keep theirs, as do frames in which perception saw nobody."""
    rng, time_s = np.random.default_rng(0), np.tile(np.arange(12) / 30, (30, 1))
    inside = rng.random((30, 12, 17)) < 0.8
    synthetic = (
        keypoint_errors(np.full((30, 12, 17, 2), 0.5), inside, time_s, rng),
        perceived_errors(inside, time_s, rng),
    )
    read, perceived = clips.errors(synthetic, inside, time_s, rng)
    exact = np.abs(read.offset).max(-1) < 1e-3
    assert exact[inside].mean() > 0.9
    npt.assert_array_equal(read.offset[~inside], synthetic[0].offset[~inside])
    of_frames = np.abs(perceived.entries[..., 9:]).max(-1) < 5e-3
    assert 0.9 < of_frames.mean() < 1
    npt.assert_array_equal(perceived.entries[~of_frames], synthetic[1].entries[~of_frames])
