"""Fitting the errors of the pose head."""

from pathlib import Path

import pytest
import torch

from sender.perception.perception_network import CERTAINTIES, FEATURE_SIZE
from sender.semantics.bodies import ENTRIES
from sender.semantics.refine import ERRORS_NAME, PoseErrors
from sender.train import pose_errors
from sender.train.pose_errors import Samples
from tests.support.training.training_examples import flags_of_examples


def people(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Certainties, and errors whose deviation grows with the first of them."""
    generator = torch.Generator().manual_seed(seed)
    certainties = 3 + 2 * torch.randn(count, CERTAINTIES, generator=generator)
    sigma = (0.4 * (certainties[:, :1] - 3) - 1).exp()
    return certainties, sigma * torch.randn(count, ENTRIES, generator=generator)


def test_deviations_follow_what_perception_is_sure_of_on_other_people() -> None:
    net, (certainties, errors) = pose_errors.fit(*people(3000, 0)), people(1000, 1)
    log_sigma = net(certainties)
    known, constant = (
        pose_errors.surprise(each, errors).mean() for each in (log_sigma, errors.square().mean(0).log() / 2)
    )
    assert known < constant - 0.2
    expected = 0.4 * (certainties[:, 0] - 3) - 1
    assert torch.corrcoef(torch.stack([log_sigma.mean(1), expected]))[0, 1] > 0.95


def test_examples_parse_and_export_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(pose_errors.parse(flags).data for flags in flags_of_examples(pose_errors))
    generator = torch.Generator().manual_seed(0)
    shapes = ((FEATURE_SIZE,), (ENTRIES,))
    samples = Samples(*(torch.randn(64, *shape, generator=generator) for shape in shapes))
    monkeypatch.setattr(pose_errors, "gather", lambda *_: (samples, samples))
    weights = tmp_path / "weights"
    flags = ["--data", "x", "--out", str(tmp_path / "out"), "--export", "--weights", str(weights)]
    pose_errors.train(pose_errors.parse(flags))
    expected = pose_errors.fit(*pose_errors.errors_of(samples))
    torch.testing.assert_close(PoseErrors.load(weights).state_dict(), expected.state_dict())
    assert (weights / f"{ERRORS_NAME}.safetensors").exists()
