"""Training the verifier: it learns what separates its examples, and its scores count what they say."""

import pytest
import torch

from sender.perception.inference.verifier import EVIDENCE
from sender.train.verifier import Examples, area_under_curve, fit, scores_of


def examples(count: int, seed: int) -> Examples:
    """People whose first keypoints are sharp; the detector's scores say nothing."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    seen = torch.randn(count, EVIDENCE, generator=generator)
    seen[:, 17:34] -= 1.5 * person[:, None]
    return Examples(seen, person, torch.rand(count, generator=generator))


def test_learns_what_tells_people_from_others() -> None:
    held_out = examples(400, seed=1)
    scores = scores_of(fit(examples(1024, seed=0), seed=0), held_out, frames=100)
    assert scores["auc"] > 0.97
    assert scores["auc_finder"] == pytest.approx(0.5, abs=0.1)
    assert scores["kept"] > 0.85
    assert scores["false_per_frame"] < 0.3
    false = ((held_out.score >= 0.35) & (held_out.person < 0.5)).sum() / 100
    assert scores["false_per_frame_finder"] == pytest.approx(float(false), abs=1e-4)


def test_the_same_seed_trains_the_same_network() -> None:
    few = examples(512, seed=2)
    first, second = (fit(few, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), person) == 1.0
    assert area_under_curve(torch.tensor([0.4, 0.3, 0.2, 0.1]), person) == 0.0
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))
