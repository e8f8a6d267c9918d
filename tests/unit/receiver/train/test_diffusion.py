"""Training the diffusion: what the removals of its ablation take away."""

import pytest
import torch
from torch import Tensor

from receiver.decode.geometry_image import LEVEL_SIZES
from receiver.diffusion.stage import DiffusionNetwork
from receiver.train.diffusion import decode_network, fit_centre, noised, parse, remove
from tests.unit.receiver.diffusion import test_condition
from tests.unit.receiver.train.test_scores import table


def denoised(network: DiffusionNetwork, seed: int) -> Tensor:
    """The same noisy clouds denoised under the features of a seed."""
    levels = [torch.randn(2, places, 6, generator=torch.Generator().manual_seed(seed)) for places in LEVEL_SIZES]
    x = torch.randn(2, 2048, 6, generator=torch.Generator().manual_seed(9))
    cloud: Tensor = network.denoiser(x, torch.full((2,), 0.2), network.conditioner((levels[0], levels[1], levels[2])))
    return cloud


def network_without(*removals: str) -> DiffusionNetwork:
    torch.manual_seed(0)
    network = DiffusionNetwork(test_condition.TINY, torch.arange(2048)).eval()
    torch.nn.init.normal_(network.denoiser.readout.weight)
    remove(network, removals)
    return network


def test_removed_u_m_leaves_only_the_geometry_bias() -> None:
    network = network_without("u_m")
    assert not torch.equal(denoised(network, 0), denoised(network, 1))
    remove(network, ["geometry-bias"])
    assert torch.equal(denoised(network, 0), denoised(network, 1))


def test_removed_geometry_bias_is_zero() -> None:
    network = network_without("geometry-bias")
    levels = tuple(torch.randn(1, places, 6) for places in LEVEL_SIZES)
    condition = network.conditioner(levels)
    assert condition.bias.abs().max() == 0
    assert condition.u_m.std() > 0


def test_removed_parts_are_not_trained() -> None:
    network = network_without("u_m", "geometry-bias")
    denoised(network, 0).square().mean().backward()
    assert network.denoiser.centre_weight.grad is None
    assert network.denoiser.embed.weight.grad is not None


def test_removed_u_m_stays_out_of_the_fitted_centre() -> None:
    network = network_without("u_m")
    decode = decode_network(parse(["--bodies", "x", "--out", "x"]))
    fit_centre(network, decode, table(2048), ["u_m"])
    assert network.denoiser.centre_weight.abs().max() == 0
    assert network.denoiser.centre_bias.abs().max() > 0


def test_removed_z_prime_makes_features_independent_of_the_labels() -> None:
    labels, present = torch.randn(2, 104), torch.ones(2, 104)
    options = ["--bodies", "x", "--out", "x"]
    with torch.no_grad():
        s_1, _, _ = decode_network(parse(options))(labels, present)
        assert not torch.allclose(s_1[0], s_1[1], atol=1e-3)
        s_1, _, _ = decode_network(parse([*options, "--without", "z_prime"]))(labels, present)
    torch.testing.assert_close(s_1[0], s_1[1])


def test_noise_of_half_of_the_strong_levels_is_shifted() -> None:
    clean = torch.zeros(2000, 1, 1)
    clean[::2] = 100.0
    x, sigma = noised(clean, torch.Generator().manual_seed(0))
    shifted = (x - clean).abs().flatten() > 5.0
    assert not shifted[sigma < 0.1].any()
    assert float(shifted[sigma > 0.1].float().mean()) == pytest.approx(0.5 * 0.95, abs=0.06)
