"""The whole network: what conditions it, and what trains the hyperprior."""

import torch

from tests.support.training.tiny_image_channel import tiny_network


def pictures(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


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
