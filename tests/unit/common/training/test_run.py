"""What all trainings share, on a toy: length, learning rate, resuming, a GPU, termination, and the files."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.errors import OutputError, UsageError
from common.training.recipe import ConvolutionMuon, loaded, muon_and_adamw
from common.training.run import AveragedNetwork, Run, load_checkpoint, parse, save_checkpoint, train, warm_cosine
from common.weights.loader import load_weights
from common.weights.manifest import WEIGHTS_DIRECTORY, read_manifest
from tests.support.training.pretended_gpu import on_gpu, pretended_gpu
from tests.support.training.toy_training import Rows, Sums, ToyTraining


def flags(out: Path, *more: str) -> Any:
    threads = str(torch.get_num_threads())
    return parse(ToyTraining, ["--out", str(out), "--device", "cpu", "--threads", threads, *more])


def scores(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return document


def equal(first: Sums, second: Sums) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_training_learns_and_writes_scores_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ToyTraining, "defaults", replace(ToyTraining.defaults, evaluate_minutes=0.0))
    weights = ["--export", "--weights", str(tmp_path / "weights")]
    network = train(ToyTraining, flags(tmp_path, "--steps", "60", *weights))
    document = scores(tmp_path)
    assert document.pop("minutes") >= 0
    error = document.pop("scores")["error"]
    assert error < 0.5
    facts = {"seed": 3, "scale": 1.0}
    assert document == {"steps": 60, "samples": 480, **facts}
    entry = read_manifest(tmp_path / "weights")["toy"]
    assert (entry.architecture, entry.scores) == ({"weights": 19}, {"error": error})
    assert dict(entry.recipe).items() >= {"steps": 60, "samples": 480, **facts}.items()
    assert load_weights("toy", directory=tmp_path / "weights").keys() == network.state_dict().keys()
    lines = capsys.readouterr().out.splitlines()
    logged = [line for line in lines if "samples/s" in line]
    assert len(logged) == 30
    assert all(f"{what} " in logged[0] for what in ("data", "steps", "evaluation", "loss", "largest"))
    errors = [float(line.split()[-1]) for line in lines if "validation error" in line]
    assert len(errors) == 59 and errors[0] > 2 * errors[-1]


def test_flags_have_the_defaults_of_the_training_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    options = parse(ToyTraining, [])
    assert (options.minutes, options.batch, options.rate, options.seed) == (1.0, 8, 0.05, 3)
    assert (options.out, options.weights, options.steps) == (Path("runs/toy"), WEIGHTS_DIRECTORY, None)
    for wrong in (["--minutes", "0"], ["--steps", "-1"], ["--device", "gpu"]):
        with pytest.raises(SystemExit) as exited:
            parse(ToyTraining, wrong)
        assert exited.value.code == 2, wrong
    with pytest.raises(UsageError, match="CUDA GPUs"):
        train(ToyTraining, parse(ToyTraining, ["--out", str(tmp_path), "--device", "cuda:7"]))


def test_terminated_and_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(ToyTraining, flags(tmp_path / "whole", "--steps", "8"))
    step, before, count = ToyTraining.step, signal.getsignal(signal.SIGTERM), 0

    def terminating(self: ToyTraining, network: Sums, batch: Rows) -> tuple[Tensor, Mapping[str, Tensor]]:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, network, batch)

    monkeypatch.setattr(ToyTraining, "step", terminating)
    with pytest.raises(SystemExit) as exited:
        train(ToyTraining, flags(tmp_path / "part", "--steps", "8"))
    assert exited.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert load_checkpoint(tmp_path / "part" / "toy.pt")["progress"]["steps"] == 3

    original = ToyTraining._rows
    seeds = iter([np.random.default_rng(99), *(np.random.default_rng(number) for number in range(3, 20))])
    monkeypatch.setattr(ToyTraining, "_rows", lambda self, _rng: original(self, next(seeds)))
    resumed = train(ToyTraining, flags(tmp_path / "part", "--steps", "8", "--resume"))
    assert equal(resumed, whole)
    assert (scores(tmp_path / "part")["steps"], scores(tmp_path / "part")["samples"]) == (8, 64)


def test_finished_training_takes_no_further_step_and_none_only_evaluates(tmp_path: Path) -> None:
    trained = train(ToyTraining, flags(tmp_path, "--steps", "2"))
    assert equal(train(ToyTraining, flags(tmp_path, "--steps", "2", "--resume")), trained)
    for length, steps in (("--steps=0", 0), ("--minutes=1e-9", 1)):
        train(ToyTraining, flags(tmp_path / "new", length))
        assert scores(tmp_path / "new")["steps"] == steps


def test_learning_rate_rises_and_falls_in_every_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[list[float]] = []
    monkeypatch.setattr(ToyTraining, "defaults", replace(ToyTraining.defaults, warm_share=0.2))
    toy = ToyTraining(flags(tmp_path, "--steps", "10"), torch.device("cpu"))
    run = Run(toy, toy.prepare(), tmp_path / "toy.pt")
    step = toy.step

    def observed(network: Sums, batch: Rows) -> tuple[Tensor, Mapping[str, Tensor]]:
        rates.append([float(group["lr"]) for one in run._optimisers for group in one.param_groups])
        return step(network, batch)

    monkeypatch.setattr(toy, "step", observed)
    run.train()
    assert rates[2] == pytest.approx([0.05, 0.05])
    assert rates[0][0] < rates[1][0] < rates[2][0] > rates[9][0]


def test_step_with_infinite_gradients_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTraining, "step", lambda _self, network, batch: (network(batch.x).mean() * torch.inf, {}))
    toy = ToyTraining(flags(tmp_path, "--steps", "1"), torch.device("cpu"))
    network = toy.prepare()
    before = [weight.detach().clone() for weight in network.parameters()]
    Run(toy, network, tmp_path / "toy.pt").train()
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True))


def test_checkpoint_is_written_before_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def evaluate(_self: ToyTraining, _network: Sums) -> dict[str, float]:
        saved.append(load_checkpoint(tmp_path / "toy.pt")["progress"]["steps"])
        return {}

    monkeypatch.setattr(ToyTraining, "evaluate", evaluate)
    monkeypatch.setattr(ToyTraining, "defaults", replace(ToyTraining.defaults, evaluate_minutes=0.0))
    train(ToyTraining, flags(tmp_path, "--steps", "3"))
    assert saved == [1, 2, 3]


def test_training_on_a_gpu_equals_one_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = train(ToyTraining, flags(tmp_path / "cpu", "--steps", "3"))
    with pretended_gpu(monkeypatch):
        for more in (["--steps", "2"], ["--steps", "2", "--resume"]):
            network = train(ToyTraining, flags(tmp_path / "gpu", "--device", "cuda", *more))
        assert on_gpu(network)
    with pretended_gpu(monkeypatch):
        again = train(ToyTraining, flags(tmp_path / "again", "--device", "auto", "--steps", "3"))
    assert equal(again, on_cpu)
    assert set(scores(tmp_path / "gpu")["scores"]) == {"error"}


@pytest.mark.parametrize("warm_share", [0.02, 0.05])
def test_warm_cosine_rises_then_falls_to_its_floor(warm_share: float) -> None:
    start, half_warm, warm, middle, end, beyond = (
        warm_cosine(progress, warm_share) for progress in (0.0, warm_share / 2, warm_share, 0.5, 1.0, 1.7)
    )
    assert 0 < start < half_warm < warm > middle > end
    assert [half_warm, warm, end, beyond] == pytest.approx([0.5, 1.0, 0.01, 0.01])


def test_processes_prepare_batches_of_their_own() -> None:
    def draws(rng: np.random.Generator) -> Iterator[Rows]:
        while True:
            yield Rows(torch.full((2,), os.getpid()), torch.from_numpy(rng.random(2)))

    batches = loaded(draws, seed=5, processes=2)
    drawn = [next(batches) for _ in range(6)]
    batches.close()
    by_process: dict[int, list[float]] = {}
    for rows in drawn:
        assert isinstance(rows, Rows)
        by_process.setdefault(int(rows.x[0]), []).extend(rows.y.tolist())
    assert os.getpid() not in by_process
    first, second = by_process.values()
    assert not set(first) & set(second)
    again = loaded(draws, seed=5, processes=2)
    assert next(again).y.tolist() == drawn[0].y.tolist()
    again.close()


def test_average_follows_quickly_at_first_and_slowly_later() -> None:
    average, source = AveragedNetwork(nn.Linear(1, 1), decay=0.99), nn.Linear(1, 1)
    nn.init.ones_(source.weight)
    for steps, share in ((0, 1 - 2 / 11), (10_000, 0.01)):
        average.steps = steps
        nn.init.zeros_(average.network.weight)
        average.update(source)
        assert float(average.network.weight) == pytest.approx(share)


def test_average_resumes_from_its_state() -> None:
    first, second = (AveragedNetwork(nn.BatchNorm1d(2)) for _ in range(2))
    source = nn.BatchNorm1d(2)
    for _ in range(3):
        source(torch.randn(8, 2))
        first.update(source)
    second.load_state_dict(first.state_dict())
    assert second.steps == first.steps == 3
    state = first.network.state_dict()
    assert all(torch.equal(value, second.network.state_dict()[name]) for name, value in state.items())
    assert state["num_batches_tracked"] == 3
    assert not torch.equal(first.network.state_dict()["running_mean"], torch.zeros(2))


def test_failed_save_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(AttributeError):
        save_checkpoint(path, {"step": lambda: 2})
    assert load_checkpoint(path) == {"step": 1}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        save_checkpoint(path / "below.pt", {})


def test_truncated_or_missing_checkpoint_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)
    save_checkpoint(path, {"weight": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_update_of_a_convolution_is_that_of_its_matrix(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 6, 3, 3).contiguous(memory_format=memory))
    matrix = nn.Parameter(weight.detach().flatten(1).clone())
    ours = ConvolutionMuon([weight], lr=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    before = weight.detach().clone()
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        matrix.grad = weight.grad.flatten(1).clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(weight.flatten(1), matrix)
    assert 0.02 < float((weight.detach() - before).square().mean().sqrt()) < 0.08


def test_wide_convolutions_get_muon_and_every_weight_is_optimised_once() -> None:
    network = nn.ModuleDict(
        {
            "first": nn.Conv2d(3, 64, 3),
            "wide": nn.Conv2d(64, 48, 3),
            "modulation": nn.Conv2d(64, 64, 1),
            "up": nn.ConvTranspose2d(48, 64, 2),
        }
    )
    matrices, others = muon_and_adamw(network, 1e-3, (nn.Conv2d,))
    assert isinstance(matrices, ConvolutionMuon)
    assert [one.shape for one in matrices.param_groups[0]["params"]] == [(48, 64 * 9)]
    assert len(others.param_groups[0]["params"]) == 7
    (alone,) = muon_and_adamw(nn.Conv2d(3, 4, 1), 1e-3)
    assert isinstance(alone, torch.optim.AdamW)
