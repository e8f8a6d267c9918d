from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera
from common.synthetic.motion.windows import open_windows, write_windows
from sender.perception.crop import CropBox, ray_rotation
from sender.semantics.bodies import crop_entries
from sender.train.lifting.recorded import RecordedClips
from tests.support.motion.made_motion import gliding

_CAMERA, _CROP, _FRAMES = Camera(640, 480, 700.0), CropBox(120, 30, 380, 0.2), 64


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in which nobody errs, of each split, and windows of motion."""
    folder: Path = tmp_path_factory.mktemp("clips")
    write_windows([gliding(name, _FRAMES, 0.3) for name in ("cmu/013_18", "cmu/009_01")], folder / "windows", 30.0)
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
        "view": np.arange(_FRAMES, dtype=np.int8) % 2,
        "entries": entries.numpy(),
        "log_sigma": np.zeros((_FRAMES, 80), np.float32),
        "time_s": np.arange(_FRAMES) / 30,
        "turn": bodies.rotations[:, 0].numpy(),
        "pelvis": bodies.translation.numpy(),
        "keypoints": (keypoints - bodies.translation[:, None]).numpy(),
        "body": entries[:, 9:].numpy(),
        "contacts": np.ones((_FRAMES, 4), bool),
        "camera": np.array([640, 480, 700], np.float32),
        "assumed_focal": np.array(700, np.float32),
        "up": np.tile([0, -1, 0], (_FRAMES, 1)).astype(np.float32),
        "size": np.array([1, 480 / 640], np.float32),
        "focal": np.array(700 / 640, np.float32),
        "still": np.array(True),
    }
    for split in ("train", "val"):
        (folder / split).mkdir()
        np.savez(folder / split / "0000.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> RecordedClips:
    return RecordedClips.read(clip_folder / "train")
