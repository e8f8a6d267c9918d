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
