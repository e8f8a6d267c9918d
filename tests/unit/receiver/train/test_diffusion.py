"""Training the diffusion: what the removals of its ablation take away, and the loss."""

import numpy as np
import pytest
import torch
from torch import Tensor

from common.labels import LABEL_SIZE, group_slices
from receiver.diffusion.config import SIGMA_MAX, SIGMA_MIN
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS, DisplacementBasis
from receiver.diffusion.stage import DiffusionNetwork
from receiver.train.diffusion import LABEL_DROPOUT, denoising_loss, dressed_batches, noise_levels, remove
from receiver.train.label_dropout import LabelDropoutConfig
from tests.support.outfit_tables import outfit_table
from tests.unit.receiver.diffusion.test_condition import TINY, clothing, levels

SHAPE = (2, DISPLACEMENT_TOKENS, COEFFICIENTS)


def network_without(*removals: str) -> DiffusionNetwork:
    torch.manual_seed(0)
    network = DiffusionNetwork(TINY, DisplacementBasis.empty(2048, 8)).eval()
    network.basis.patch.copy_(torch.arange(DISPLACEMENT_TOKENS) // 2)
    torch.nn.init.normal_(network.denoiser.readout)
    for parameter in network.conditioner.log_weights.parameters():
        torch.nn.init.normal_(parameter)
    remove(network, removals)
    return network


def denoised(network: DiffusionNetwork, seed: int) -> Tensor:
    """The same noisy coefficients denoised under the labels of a seed."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    condition = network.condition(levels(seed), clothing(seed))
    out: Tensor = network.denoiser(x, torch.full((2,), 2.0), torch.zeros(SHAPE), condition)
    return out


def test_removed_u_m_leaves_only_the_geometry_bias() -> None:
    network = network_without("u_m")
    assert not torch.equal(denoised(network, 0), denoised(network, 1))
    remove(network, ["geometry-bias"])
    assert torch.equal(denoised(network, 0), denoised(network, 1))


def test_removed_geometry_bias_is_zero() -> None:
    condition = network_without("geometry-bias").condition(levels(), clothing())
    assert condition.bias.abs().max() == 0
    assert condition.u_m.std() > 0


def test_removed_scale_weights_are_equal() -> None:
    tokens = [torch.randn(2, patches, TINY.width) for patches in (32, 128, 128)]
    assert network_without().conditioner.weights(tokens).std() > 0.1
    weights = network_without("scale-weights").conditioner.weights(tokens)
    torch.testing.assert_close(weights, torch.ones(2, 128, 3))


def test_removed_parts_are_not_trained() -> None:
    network = network_without("u_m", "geometry-bias")
    denoised(network, 0).square().mean().backward()
    assert network.denoiser.condition_norm.weight.grad is None
    assert network.denoiser.embed.grad is not None


def test_loss_weighs_coefficients_by_their_displacement() -> None:
    network = network_without()
    network.basis.scale[:, 0] = 3.0
    sigma, truth = torch.full((2,), 0.5), torch.zeros(SHAPE)
    small, large = truth.clone(), truth.clone()
    small[:, :, 1], large[:, :, 0] = 0.1, 0.1
    ratio = denoising_loss(network, large, truth, sigma) / denoising_loss(network, small, truth, sigma)
    assert float(ratio) == pytest.approx(9.0, rel=1e-4)


def test_noise_levels_are_spread_over_the_range() -> None:
    torch.manual_seed(0)
    sigma = noise_levels(torch.zeros(4000))
    assert float(sigma.min()) >= SIGMA_MIN and float(sigma.max()) <= SIGMA_MAX
    assert float(sigma.log().mean()) == pytest.approx(float(np.log(SIGMA_MIN * SIGMA_MAX)) / 2, abs=0.1)


def test_batches_have_the_outfits_labels_and_fields() -> None:
    outfits, slices = outfit_table(6), group_slices()
    poses = torch.randn(3, LABEL_SIZE)
    everything = LabelDropoutConfig(whole=1.0, step_max=0)
    dressed = next(dressed_batches(outfits, poses, everything, 2, np.random.default_rng(0)))
    rows = np.random.default_rng(0)
    rows.integers(2**62)
    chosen = rows.integers(6, size=2)
    np.testing.assert_allclose(dressed.labels[:, slices["surface"]].numpy(), outfits.surface[chosen], atol=1e-6)
    np.testing.assert_allclose(dressed.labels[:, slices["shape"]].numpy(), outfits.shape[chosen], atol=1e-6)
    assert torch.equal(dressed.field, outfits.displacements(chosen))
    assert dressed.present.all()


def test_a_third_of_the_people_is_not_known_whole() -> None:
    assert 0.2 < 1 - LABEL_DROPOUT.whole < 0.5
