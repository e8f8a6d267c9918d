"""The training of the motion network, on two made-up clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.synthetic.motion.windows import open_windows, write_windows
from common.training.run import parse
from receiver.train import motion
from receiver.train.motion import MotionTraining
from receiver.train.motion_samples import FPS, Clips, Joints, Wanted, samples
from tests.support.made_motion import gliding
from tests.support.training_examples import flags_of_examples, train_on_gpu

SPEED_MPS = 1.2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    motions = [gliding(name, 240, SPEED_MPS, FPS) for name in ("cmu/013_18", "cmu/009_01")]
    write_windows(motions, tmp_path / "windows", FPS)
    return tmp_path / "windows"


def test_poses_are_those_of_the_clip(folder: Path) -> None:
    windows = open_windows(folder)
    clips = Clips(windows, "train", LabelSpace.load())
    joints = Joints()(clips.poses[torch.arange(3)], torch.ones(3))
    np.testing.assert_allclose(joints[:, :22].numpy(), windows.joints[:3], atol=1e-3)
    mirrored = Joints()(clips.mirrored[torch.arange(1)], torch.ones(1))
    torch.testing.assert_close(mirrored[0, 0], joints[0, 0] * torch.tensor([-1.0, 1, 1]))


def test_samples_know_the_labels_before_and_the_poses_behind_a_moment(folder: Path) -> None:
    clips = Clips(open_windows(folder), "train", LabelSpace.load())
    one, none = torch.ones(16), torch.zeros(16)
    wanted = Wanted(10 * one, none, none, 0.2 * one, varied=False)
    made = samples(clips, wanted, torch.Generator().manual_seed(0))
    after = made.first.position[:, 0] - made.now.position[:, 0]
    torch.testing.assert_close(after, SPEED_MPS * made.after_s[:, 0], atol=1e-4, rtol=1e-3)
    later = made.second.position[:, 0] - made.first.position[:, 0]
    torch.testing.assert_close(later, SPEED_MPS * made.step_s[:, 0], atol=1e-4, rtol=1e-3)
    assert (made.counts[:, 0] == 1).all() and made.counts.sum() < made.counts.numel()


def test_training_learns_to_go_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [vars(parse(MotionTraining, flags))["export"] for flags in flags_of_examples(motion)] == [True, True]
    monkeypatch.setattr(motion, "_SCORED", 300)
    flags = ("--windows", str(folder), "--batch", "64", "--rate", "0.002", "--plain")
    _, document = train_on_gpu(monkeypatch, MotionTraining, tmp_path, *flags, steps=30)
    assert document["scores"]["predicted_3_mm"] < 0.7 * document["scores"]["held_3_mm"]
