"""The training of the diffusion of unseen limbs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.synthetic.motion.windows import write_windows
from common.training.run import parse
from common.weights.loader import load_weights
from receiver.motion.mixture import (
    DIFFUSION_WEIGHTS,
    DOWN,
    ENTRIES,
    GROUPS,
    SIZE,
    SPEED,
    PoseDiffusion,
    condition,
    load_denoiser,
)
from receiver.train import pose_diffusion
from receiver.train.pose_diffusion import PoseDiffusionTraining, estimated_of
from tests.support.motion.made_motion import gliding
from tests.support.training.training_examples import flags_of_examples, train_on_gpu

LEGS = frozenset(("left_leg", "right_leg"))


def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_windows([gliding(name, 40) for name in ("cmu/013_18", "cmu/009_01")], tmp_path / "windows", 30.0)
    flags = ["--windows", str(tmp_path / "windows"), "--batch", "8"]
    assert all(parse(PoseDiffusionTraining, example).windows for example in flags_of_examples(pose_diffusion))
    train_on_gpu(monkeypatch, PoseDiffusionTraining, tmp_path, *flags)
    exported = load_weights(DIFFUSION_WEIGHTS, directory=tmp_path / "weights")
    assert exported.keys() == load_weights(DIFFUSION_WEIGHTS).keys()


def test_what_is_estimated_of_hidden_limbs_is_nearer_to_the_mean() -> None:
    x = torch.full((4000, SIZE), 2.0)
    hidden = torch.tensor([[name == "left_leg" for name in GROUPS]]).expand(len(x), -1)
    estimated = estimated_of(x, hidden, torch.Generator().manual_seed(0)).mean(0)
    left, right = estimated[ENTRIES["left_leg"][0]], estimated[ENTRIES["right_leg"][0]]
    assert left == pytest.approx(0.49 * 2 - 0.25, abs=0.05) and right == pytest.approx(0.95 * 2, abs=0.05)


def test_condition_has_nothing_of_hidden_groups_that_were_never_sent() -> None:
    hidden = torch.tensor([[name in LEGS for name in GROUPS]])
    estimated, modes = torch.ones(1, SIZE), torch.tensor([0])
    changed = estimated.clone()
    changed[:, ENTRIES["left_leg"]] = 5.0
    first, second = (condition(each, hidden, torch.zeros_like(hidden), modes) for each in (estimated, changed))
    assert torch.equal(first, second)
    assert not torch.equal(condition(changed, hidden, hidden, modes), condition(estimated, hidden, hidden, modes))


def test_a_pose_has_the_generated_entries_alone() -> None:
    rng = np.random.default_rng(0)
    estimated = np.concatenate([rng.normal(size=SIZE - 4), [0.0, 1.0, 0.0, -2.3]])
    diffusion = PoseDiffusion(load_denoiser())
    first, again = (diffusion.refined(np.zeros(SIZE), estimated, LEGS, LEGS, 0, np.zeros(SIZE)) for _ in range(2))
    own = np.zeros(SIZE, bool)
    for name in LEGS:
        own[ENTRIES[name]] = True
    own[DOWN] = True
    assert np.array_equal(first, again) and first[own].all() and not first[~own].any() and first[SPEED] == 0
