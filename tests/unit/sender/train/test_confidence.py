"""Calibration of the confidence of limbs."""

import pytest
import torch

from sender.semantics.confidence import EVIDENCE, LIMBS
from sender.train.confidence import Limbs, fit, reliability, scores_of

PEOPLE = 4000


def limbs(seed: int) -> Limbs:
    """Keypoints that are right with a probability given by the first two columns of the evidence, by kind of limb."""
    generator = torch.Generator().manual_seed(seed)
    evidence = 3 * torch.randn(PEOPLE, len(LIMBS), EVIDENCE, generator=generator) + 1
    slope = torch.tensor([1.0, 0.5, 0.5, -0.7, -0.7])
    probability = (slope * (evidence[..., 0] - 1) + 0.3 * evidence[..., 1] - 0.5).sigmoid()
    counted = torch.randint(0, 4, probability.shape, generator=generator).float()
    right = torch.binomial(counted, probability, generator=generator)
    return Limbs(evidence, right, counted, torch.arange(PEOPLE))


def test_fitted_probabilities_are_calibrated_on_other_people() -> None:
    test = limbs(seed=1)
    net = fit(limbs(seed=0))
    probability = net(test.evidence).sigmoid()
    scores, guess = scores_of(probability, test), scores_of(torch.full_like(probability, 0.9), test)
    assert scores["calibration_error"] < 0.02
    assert guess["calibration_error"] > 0.2
    assert scores["brier"] < 0.8 * guess["brier"] < 0.4
    # The sides are fitted together, the kinds of limbs are not.
    assert net.weight[2, 0] < 0 < net.weight[1, 0] < net.weight[0, 0]


def test_reliability_counts_labelled_keypoints_in_each_tenth() -> None:
    two = torch.tensor([[2.0] + [0.0] * 4, [1.0, 3.0] + [0.0] * 3])
    right = torch.tensor([[1.0] + [0.0] * 4, [1.0, 0.0] + [0.0] * 3])
    probability = torch.tensor([[0.55] + [0.9] * 4, [0.51, 0.05] + [0.9] * 3])
    empty = torch.zeros(2, len(LIMBS), EVIDENCE)
    known = Limbs(empty, right, two, torch.arange(2))
    low, high = reliability(probability, known)
    assert (low["keypoints"], low["right"]) == (3, 0)
    assert high["keypoints"] == 3 and high["right"] == pytest.approx(2 / 3)
    assert high["probability"] == pytest.approx((2 * 0.55 + 0.51) / 3)
    expected = (3 * 0.05 + 3 * abs(high["probability"] - 2 / 3)) / 6
    assert scores_of(probability, known)["calibration_error"] == pytest.approx(expected, abs=1e-4)
