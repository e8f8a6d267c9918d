"""The training of the motion network, on two made-up clips."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_SCALE, LabelSpace
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.codec.tables import UNIT
from common.codec.tables import load as load_tables
from common.errors import UsageError
from common.labels import GROUP_NAMES, LABEL_SIZE, group_slices
from common.motion.network import POSE, POSE_SIZE, MotionConfig
from common.synthetic.motion.poses import clips
from common.synthetic.motion.windows import open_windows, write_windows
from common.training.run import parse
from receiver.train import motion
from receiver.train.motion import (
    FPS,
    LAG_S,
    Clips,
    Errors,
    Joints,
    MotionTraining,
    Samples,
    Wanted,
    received_labels,
    samples,
)
from tests.support.motion.label_motion import frame_of, person
from tests.support.motion.made_motion import gliding, labels_of
from tests.support.training.training_examples import flags_of_examples, train_on_gpu

SPEED_MPS = 1.2
NO_ERRORS = Errors(torch.zeros(1, 5, POSE_SIZE + 6))
STANDING = np.zeros((1, 31, LABEL_SIZE), np.float32)
HEAD = group_slices()["head"].start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    motions = [gliding(name, 240, SPEED_MPS, FPS) for name in ("cmu/013_18", "cmu/009_01")]
    write_windows(motions, tmp_path / "windows", FPS)
    return tmp_path / "windows"


@pytest.fixture
def perceived(tmp_path: Path) -> Path:
    """A session of somebody who walks and whose head is perceived too far to one side, a frame late."""
    (clip,) = (clip for clip in clips("test") if clip.name == "deepmimic/long_walk3")
    truth = labels_of(clip)[:36]
    codec, packets = FrameCodec(bytes(MODEL_HASH_SIZE)), list[bytes]()
    for number, labels in enumerate(truth[[0, *range(35)]]):
        labels[HEAD] += 0.5
        codec.acknowledge(number - 1)
        packets.append(codec.encode(frame_of(number, person(labels)), dict.fromkeys(GROUP_NAMES, 0.0)).payload)
    sizes, joined = [[len(packet) for packet in packets]], np.frombuffer(b"".join(packets), np.uint8)
    (tmp_path / "perceived").mkdir()
    for split in ("train", "val"):
        np.savez(tmp_path / "perceived" / f"{split}.npz", packets=joined, sizes=sizes, truth=truth[None])
    return tmp_path / "perceived"


def sampled(
    folder: Path, rate: float, errors: Errors = NO_ERRORS, received: FloatArray | None = None, **wanted: float
) -> Samples:
    """Samples 0.2 s after the newest labels, of windows or of received clips; `wanted` are some of its numbers."""
    numbers = dict.fromkeys(("noise", "stays", "perceived", "coarse", "ahead_s"), 0.0) | {"after_s": 0.2} | wanted
    columns = {name: torch.full((64,), value) for name, value in numbers.items()}
    of_received, rates = torch.full((64,), received is not None), torch.full((64,), rate)
    clips = Clips(open_windows(folder), "train", LabelSpace.load(), STANDING if received is None else received)
    everything = Wanted(rates, received=of_received, varied=False, **columns)
    return samples(clips, errors, everything, torch.Generator().manual_seed(0))


def assert_glides(samples: Samples, after_s: torch.Tensor) -> None:
    """Somebody of the windows, or their mirror image, goes on after the newest labels for so long."""
    moved = (samples.first.position - samples.now.position)[:, 0].abs()
    torch.testing.assert_close(moved, SPEED_MPS * after_s, atol=1e-4, rtol=1e-3)


def test_poses_are_those_of_the_clip(folder: Path) -> None:
    windows, space = open_windows(folder), LabelSpace.load()
    moving = Clips(windows, "train", space, STANDING)
    half = len(moving.poses) // 2
    joints, mirrored = (Joints(space)(moving.poses[first : first + 3], torch.ones(3)) for first in (0, half))
    np.testing.assert_allclose(joints[:, :22].numpy(), windows.joints[:3], atol=0.04)
    torch.testing.assert_close(mirrored[:, 0], joints[:, 0] * torch.tensor([-1.0, 1, 1]))


def test_samples_know_the_labels_before_and_the_poses_behind_a_moment(folder: Path) -> None:
    made = sampled(folder, rate=10.0)
    assert_glides(made, made.after_s[:, 0])
    later = (made.second.position - made.first.position)[:, 0].abs()
    torch.testing.assert_close(later, SPEED_MPS * made.step_s[:, 0], atol=1e-4, rtol=1e-3)
    assert (made.counts[:, 0] == 1).all() and made.counts.sum() < made.counts.numel()


def test_errors_are_those_of_received_labels_which_are_late(perceived: Path) -> None:
    errors = Errors.of(LabelSpace.load(), *received_labels(perceived / "train.npz")).changes
    assert errors.shape == (2, 35, POSE_SIZE + 6)
    head = HEAD - POSE.start
    torch.testing.assert_close(errors[0, :, head], torch.full((35,), 0.5), atol=0.1, rtol=0)
    rest = errors.clone()
    rest[:, :, head : head + 6] = 0
    assert rest.abs().mean() < 0.05 and errors[1, :, head : head + 6].abs().mean() > 0.05
    with pytest.raises(UsageError, match="perceived_motion"):
        received_labels(perceived / "missing.npz")


def test_perceived_labels_are_late_and_their_errors_stay(folder: Path) -> None:
    errors = Errors(torch.zeros(1, 40, POSE_SIZE + 6).index_fill(2, torch.tensor([3]), 0.7))
    made = sampled(folder, rate=10.0, errors=errors, perceived=1.0)
    assert_glides(made, made.after_s[:, 0] + LAG_S)
    torch.testing.assert_close(made.first.entries, made.now.entries)
    assert made.tokens[:, :, 3].abs().max() < 1e-5


def test_labels_ahead_of_their_capture_have_a_part_of_the_error_of_damped_extrapolation(folder: Path) -> None:
    made, ahead_s = sampled(folder, rate=3.0, ahead_s=0.3), 0.3
    short = SPEED_MPS * made.after_s[:, 0] - (made.first.position - made.now.position)[:, 0].abs()
    damped_s = 0.15 * (1 - math.exp(-ahead_s / 0.15))
    # At the beginnings of clips no change is known.
    assert -short.median().item() == pytest.approx(0.7 * SPEED_MPS * (ahead_s - damped_s), abs=2e-3)


def test_coarse_labels_are_at_most_half_a_step_wrong(folder: Path) -> None:
    made = sampled(folder, rate=30.0, coarse=1.0)
    wrong = (made.first.position - made.now.position)[:, 0].abs() - SPEED_MPS * made.after_s[:, 0]
    step = 3.5 * TRANSLATION_SCALE[0] * 2 ** (15 / 3) * float(load_tables().base_step[6]) / UNIT
    assert 0.4 * step < wrong.abs().max() < 0.5 * step + 1e-4


def test_received_labels_are_those_of_their_clip(folder: Path) -> None:
    received = STANDING.copy()
    received[0, :, HEAD] = np.arange(31) / 30
    made, head = sampled(folder, rate=30.0, received=received), HEAD - POSE.start
    torch.testing.assert_close(
        (made.first.entries - made.now.entries)[:, head].abs(), made.after_s[:, 0], atol=1e-4, rtol=0
    )
    assert not made.now.position[:, 0].any()


@pytest.mark.slow
def test_training_learns_to_go_on(
    folder: Path, perceived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [vars(parse(MotionTraining, flags))["export"] for flags in flags_of_examples(motion)] == [True, True]
    monkeypatch.setattr(motion, "_SCORED", 300)
    monkeypatch.setattr(motion, "MotionConfig", lambda: MotionConfig(width=16, heads=2, depth=1, state=64))
    flags = ("--windows", str(folder), "--perceived", str(perceived), "--batch", "64", "--rate", "0.004")
    _, document = train_on_gpu(monkeypatch, MotionTraining, tmp_path, *flags, steps=30)
    assert document["scores"]["predicted_3_mm"] < 0.7 * document["scores"]["held_3_mm"]
