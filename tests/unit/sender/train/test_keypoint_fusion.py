"""The fit of fused keypoints."""

import pytest
import torch

from sender.train import keypoint_fusion
from sender.train.keypoint_fusion import Seen, cross_validated, fit

PEOPLE = 50


def test_fused_keypoints_are_more_often_right_than_either_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoint_fusion, "_STEPS", 40)
    torch.manual_seed(0)
    shape = (PEOPLE, 17)
    truth = torch.rand(*shape, 2)
    right = torch.rand(shape) < 0.75
    one = torch.ones(shape)
    # Perception is always near; MoveNet is exact where its score is high, and elsewhere wrong.
    own = truth + 0.04 * torch.randn(*shape, 2)
    places = torch.where(right[..., None], truth + 0.01 * torch.randn(*shape, 2), torch.rand(*shape, 2))
    score = torch.where(right, 0.8, 0.1)
    number = torch.arange(PEOPLE)
    visible = right.float()
    certain = own, 0.04 * one, one
    seen = Seen(
        *certain,
        places,
        score,
        0.02 * one,
        0.01 * one,
        0 * one,
        truth,
        one,
        visible,
        one,
        number,
        0 * number,
        number >= 0,
    )
    scores = cross_validated(seen)
    assert scores["pck05"] > max(scores["own_pck05"], scores["movenet_pck05"]) + 0.05
    half = number % 2 == 0
    mixture, logit = fit(seen[~half])(seen[half].own, seen[half].second)
    found, sigma = mixture.densest()
    z2 = float(((found - truth[half]).square().sum(dim=-1) / 2 / sigma.square()).mean())
    assert 0.3 < z2 < 3, "squared errors of a coordinate over their variances"
    brier, own_brier = (float((each.sigmoid() - visible[half]).square().mean()) for each in (logit, one[half]))
    assert brier < 0.1 < own_brier
