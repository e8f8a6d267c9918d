"""The whole network: what conditions it, and what trains the hyperprior."""

import torch

from common.imaging.entropy import expected_bits
from tests.support.training.tiny_image_channel import tiny_network


def pictures(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_encoder_adapts_to_the_snr() -> None:
    network = tiny_network()
    source = network.source(pictures())
    lengths = torch.full((2, 4, 4), 48)
    low, high = (network.encode(source, torch.full((2, 4, 4), snr_db), lengths) for snr_db in (0.0, 12.0))
    assert not torch.equal(low, high)


@torch.no_grad()
def test_decoder_adapts_to_the_snr_of_each_position() -> None:
    network = tiny_network()
    source = network.source(pictures())
    lengths, level = torch.full((2, 4, 4), 48), torch.full((2, 4, 4), 7.0)
    symbols = network.encode(source, level, lengths)
    faded = level.clone()
    faded[:, 0, 0] = -20.0
    whole, changed = (network.decode(symbols, source.statistics, snr_db, lengths) for snr_db in (level, faded))
    assert not torch.equal(whole[..., :16, :16], changed[..., :16, :16])


@torch.no_grad()
def test_lengths_follow_the_information() -> None:
    network = tiny_network()
    statistics = network.source(pictures()).statistics
    scale = statistics.scale.clone()
    scale[:, :, 0, 0] *= 100.0
    statistics = statistics._replace(scale=scale)
    budget = torch.full((2,), 40.0), torch.full((2,), 7.0)
    lengths = network.lengths(statistics, *budget)
    assert (expected_bits(statistics).flatten(1).argmax(1) == 0).all()
    assert (lengths[:, 0, 0] == lengths.amax((1, 2))).all() and lengths.unique().numel() > 1


def test_channel_path_does_not_train_the_hyperprior_but_likelihood_does() -> None:
    network = tiny_network().train()
    source = network.source(pictures())
    level, lengths = torch.full((2, 4, 4), 7.0), torch.full((2, 4, 4), 48)
    decoded = network.decode(network.encode(source, level, lengths), source.statistics, level, lengths)
    weight = network.get_parameter("hyperprior.synthesis.6.weight")
    (gradient,) = torch.autograd.grad(decoded.sum(), weight, retain_graph=True, allow_unused=True)
    assert gradient is None
    _, bits = network.digital(source)
    assert torch.autograd.grad(bits.sum(), weight)[0].any()
