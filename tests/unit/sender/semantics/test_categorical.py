import torch

from sender.semantics.categorical import BINS, RANGE, bin_centres, moments, two_hot


def test_mean_of_two_hot_is_the_entry() -> None:
    entries = torch.tensor([[-RANGE, -1.234, 0.0, 0.1, 3.999, RANGE]])
    weights = two_hot(entries)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 6))
    torch.testing.assert_close(weights @ bin_centres(), entries, atol=1e-5, rtol=0)
    assert (weights > 0).sum(-1).max() <= 2


def test_moments_of_unimodal_and_bimodal_prediction() -> None:
    unimodal = torch.full((1, 1, BINS), -50.0)
    unimodal[0, 0, BINS // 2] = 50.0
    mean, deviation = moments(unimodal)
    assert mean.abs().item() < 1e-5
    assert deviation.item() < 1e-2
    bimodal = torch.full((1, 1, BINS), -50.0)
    bimodal[0, 0, [0, BINS - 1]] = 50.0
    mean, deviation = moments(bimodal)
    assert mean.abs().item() < 1e-4
    assert abs(deviation.item() - RANGE) < 1e-3
