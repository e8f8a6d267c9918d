"""Training the verifier, and its scores."""

import pytest
import torch

from sender.perception.inference.verifier import EVIDENCE
from sender.train.verifier import Examples, area_under_curve, fit, scores_of


def examples(count: int, seed: int) -> Examples:
    """Positive examples with sharp first keypoints; the detector's scores are random."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    evidence = torch.randn(count, EVIDENCE, generator=generator)
    evidence[:, 17:34] -= 1.5 * person[:, None]
    return Examples(evidence, person, torch.rand(count, generator=generator), frames=100)


def test_fit_separates_positive_from_negative_examples() -> None:
    val = examples(400, seed=1)
    scores = scores_of(fit(examples(1024, seed=0), seed=0), val)
    assert scores["auc"] > 0.97
    assert scores["auc_detector"] == pytest.approx(0.5, abs=0.1)
    assert scores["kept"] > 0.85
    assert scores["false_per_frame"] < 0.3
    false = ((val.score >= 0.35) & (val.person < 0.5)).sum() / 100
    assert scores["false_per_frame_detector"] == pytest.approx(float(false), abs=1e-4)


def test_same_seed_gives_the_same_network() -> None:
    training = examples(512, seed=2)
    first, second = (fit(training, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), person) == 1.0
    assert area_under_curve(torch.tensor([0.4, 0.3, 0.2, 0.1]), person) == 0.0
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))
