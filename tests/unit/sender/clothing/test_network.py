import pytest
import torch

from common.body.anatomy import POINTS
from common.body.surface_space import SURFACE_SIZE
from sender.clothing.evidence import FEATURES
from sender.clothing.network import ClothingConfig, ClothingNet
from sender.perception.network.output import FEATURE_SIZE
from sender.train.clothing import hidden, loss_of

TINY = ClothingConfig(width=32, heads=2, depth=1)


def test_every_input_affects_mean_and_variance() -> None:
    torch.manual_seed(0)
    network = ClothingNet(TINY)
    evidence = torch.randn(2, POINTS, FEATURES, requires_grad=True)
    features = torch.randn(2, FEATURE_SIZE, requires_grad=True)
    for output in network(evidence, features):
        assert output.shape == (2, SURFACE_SIZE)
        for gradient in torch.autograd.grad(output.sum(), [evidence, features], retain_graph=True):
            assert gradient.abs().sum() > 0


def test_variance_never_exceeds_the_priors() -> None:
    torch.manual_seed(0)
    network = ClothingNet(TINY)
    torch.nn.init.normal_(network.leave[-1].get_parameter("weight"), std=10.0)
    _, log_variance = network(torch.randn(8, POINTS, FEATURES), torch.randn(8, FEATURE_SIZE))
    assert log_variance.max() <= 0 and log_variance.min() >= -6


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValueError, match="width"):
        ClothingConfig(width=33, heads=2)


def test_hidden_evidence_is_missing_in_runs_of_neighbours() -> None:
    torch.manual_seed(0)
    rows = hidden(torch.ones(64, POINTS, FEATURES)).unflatten(1, (-1, 16))
    missing = (rows == 0).all(dim=(2, 3))
    assert ((rows == 1).all(dim=(2, 3)) | missing).all()
    assert 0.02 < float(missing.float().mean()) < 0.2


def test_loss_is_least_at_the_truth_and_weighs_entries_by_displacement() -> None:
    entries, certain = torch.zeros(4, SURFACE_SIZE), torch.full((4, SURFACE_SIZE), -2.0)
    mm = torch.ones(SURFACE_SIZE)
    mm[0] = 3.0
    first, last = entries.clone(), entries.clone()
    first[:, 0], last[:, -1] = 0.5, 0.5
    exact, off_first, off_last = (loss_of(mean, certain, entries, mm) for mean in (entries, first, last))
    assert exact[0] < off_first[0] and float(exact[1]) == 0
    assert float(off_first[1] / off_last[1]) == pytest.approx(9.0, rel=1e-4)
