"""The training loop: length, learning rate, resuming, termination, and what it writes."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.errors import UsageError
from common.training.checkpoint import load_checkpoint
from common.training.loop import LoopConfig, TrainingLoop, read_ahead, warm_cosine


def loop_of(
    folder: Path, config: LoopConfig, *, resume: bool = False, without: tuple[str, ...] = ()
) -> TrainingLoop[nn.Linear]:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    return TrainingLoop(
        config,
        network,
        optimiser,
        folder / "run.pt",
        resume=resume,
        facts={"seed": 0},
        without=without,
        evaluate=lambda average: {"weight": float(average.weight.detach().sum())},
    )


def batches(first: int = 0) -> Iterator[Tensor]:
    for number in itertools.count(first):
        yield torch.full((2, 3), 1.0 + number % 3)


def run(loop: TrainingLoop[nn.Linear]) -> None:
    for batch in loop.steps(batches(loop.step)):
        loss = loop.network(batch).square().mean()
        loop.descend(loss)
        loop.log(loss=loss)


def test_length_in_steps(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, LoopConfig(minutes=60, steps=7, samples_per_step=2))
    run(loop)
    assert (loop.step, loop.samples, loop.progress) == (7, 14, 1.0)


def test_length_in_minutes(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, LoopConfig(minutes=1e-9))
    run(loop)
    assert loop.step == 1
    assert loop.progress >= 1


def test_length_must_be_positive() -> None:
    with pytest.raises(ValueError, match="more than 0 minutes"):
        LoopConfig(minutes=0)


def test_length_of_no_steps_only_evaluates(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, LoopConfig(60, steps=0))
    run(loop)
    assert (loop.step, loop.progress) == (0, 1.0)


def test_learning_rate_falls_for_each_group(tmp_path: Path) -> None:
    network = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW([{"params": [network.weight], "lr": 0.1}, {"params": [network.bias], "lr": 0.2}])
    loop = TrainingLoop(LoopConfig(60, steps=10, warm_share=0.2), network, optimiser, tmp_path / "run.pt")
    rates = []
    for batch in loop.steps(batches()):
        rates.append([group["lr"] for group in optimiser.param_groups])
        loop.descend(network(batch).square().mean())
    assert rates[2] == pytest.approx([0.1, 0.2])
    assert all(second == pytest.approx(2 * first) for first, second in rates)
    assert rates[0][0] < rates[1][0] < rates[2][0] > rates[9][0]


def test_terminated_and_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    config = LoopConfig(60, steps=8, average_every=2)
    whole = loop_of(tmp_path / "whole", config)
    run(whole)
    part = loop_of(tmp_path / "part", config)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exited:
        for batch in part.steps(batches()):
            part.descend(part.network(batch).square().mean())
            if part.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
    assert exited.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = loop_of(tmp_path / "part", config, resume=True)
    assert resumed.step == 3
    run(resumed)
    assert torch.equal(resumed.network.weight, whole.network.weight)
    assert torch.equal(resumed.average.weight, whole.average.weight)


def test_finished_training_takes_no_further_step(tmp_path: Path) -> None:
    config = LoopConfig(60, steps=2)
    run(loop_of(tmp_path, config))
    resumed = loop_of(tmp_path, config, resume=True)
    run(resumed)
    assert resumed.step == 2


def test_resuming_with_another_removal_is_refused(tmp_path: Path) -> None:
    run(loop_of(tmp_path, LoopConfig(60, steps=1), without=("u_m",)))
    with pytest.raises(UsageError, match=r"--without u_m"):
        loop_of(tmp_path, LoopConfig(60, steps=2), resume=True)


def test_step_with_infinite_gradients_is_skipped(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, LoopConfig(60, steps=1))
    before = loop.network.weight.detach().clone()
    for batch in loop.steps(batches()):
        loop.descend(loop.network(batch).mean() * torch.inf)
    assert torch.equal(loop.network.weight, before)
    assert loop.step == 1


def test_log_evaluation_and_checkpoints_are_regular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = loop_of(tmp_path, LoopConfig(60, steps=4, log_every=2, evaluate_every_s=0.0, save_every_s=0.0))
    for batch in loop.steps(batches()):
        if loop.step:
            assert load_checkpoint(tmp_path / "run.pt")["step"] == loop.step
        loop.descend(loop.network(batch).square().mean())
        loop.log(loss=2.0)
    lines = capsys.readouterr().out.splitlines()
    assert sum("loss 2.000" in line for line in lines) == 2
    assert sum("validation weight" in line for line in lines) == 4


def test_checkpoint_is_written_before_an_evaluation(tmp_path: Path) -> None:
    saved: list[int] = []

    def evaluate(_average: nn.Linear) -> dict[str, float]:
        saved.append(load_checkpoint(tmp_path / "run.pt")["step"])
        return {}

    network = nn.Linear(3, 1)
    config = LoopConfig(60, steps=2, evaluate_every_s=0.0)
    optimiser = torch.optim.AdamW(network.parameters())
    run(TrainingLoop(config, network, optimiser, tmp_path / "run.pt", evaluate=evaluate))
    assert saved == [1, 2]


def test_scores_are_written_with_length_and_facts(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, LoopConfig(60, steps=1, samples_per_step=5), without=("u_m",))
    run(loop)
    loop.write_scores(tmp_path / "scores" / "run.json", {"mpjpe_mm": 1.5})
    document = json.loads((tmp_path / "scores" / "run.json").read_text())
    assert document.pop("minutes") >= 0
    assert document == {"scores": {"mpjpe_mm": 1.5}, "steps": 1, "samples": 5, "seed": 0, "without": ["u_m"]}


@pytest.mark.parametrize("warm_share", [0.02, 0.05])
def test_warm_cosine_rises_then_falls(warm_share: float) -> None:
    start, half_warm, warm, middle, end = (
        warm_cosine(progress, warm_share) for progress in (0.0, warm_share / 2, warm_share, 0.5, 1.0)
    )
    assert 0 < start < half_warm < warm > middle > end
    assert [half_warm, warm, end] == pytest.approx([0.5, 1.0, 0.01])


def test_warm_cosine_stays_at_its_floor_beyond_the_end() -> None:
    assert warm_cosine(1.7) == pytest.approx(0.01)


def test_read_ahead_keeps_the_order() -> None:
    assert list(read_ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
