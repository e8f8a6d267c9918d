"""Trainings of several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

from common.errors import UsageError
from common.training.distributed import Workers
from tests.support import sharded_training

ROOT = Path(__file__).parents[4]


def torchrun(*arguments: str) -> None:
    """Two workers on a free port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [sys.executable, *launcher, "--rdzv-endpoint", "127.0.0.1:0", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr


def test_two_workers_take_the_steps_of_one(tmp_path: Path) -> None:
    together, alone = tmp_path / "two", tmp_path / "one"
    together.mkdir()
    torchrun(str(ROOT / "tests/support/sharded_training.py"), str(together))
    network = sharded_training.train(alone, Workers())
    for rank in (0, 1):
        for name, weight in torch.load(together / f"rank-{rank}.pt").items():
            torch.testing.assert_close(weight, network.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert (together / "began-1").read_text() == "['began-0']"


def test_image_channel_trains_and_resumes_with_two_workers(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 256, (160, 200, 3), dtype=np.uint8)
        PillowImage.fromarray(values).save(pictures / f"{number}.png")
    folders = ["--data", str(pictures), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    for steps in ("1", "2"):
        flags = ["--batch", "2", "--steps", steps, "--resume"]
        torchrun("-m", "common.training.image_channel", *folders, *flags)
        scores = json.loads((tmp_path / "run/scores.json").read_text())
        assert (scores["steps"], scores["samples"]) == (int(steps), 2 * int(steps))


def test_batch_is_shared_equally_or_refused() -> None:
    assert Workers(rank=1, count=4).batch(64) == 16
    with pytest.raises(UsageError, match="--batch 30 cannot be shared equally among 4 workers"):
        Workers(count=4).batch(30)


def test_workers_have_different_seeds_that_a_resumed_training_does_not_repeat() -> None:
    seeds = {Workers(rank, 3).seed(7, step) for rank in range(3) for step in (0, 100)}
    assert len(seeds) == 6


def test_a_single_worker_keeps_its_gradients() -> None:
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad
    Workers().average_gradients(layer.parameters())
    assert layer.weight.grad is before
