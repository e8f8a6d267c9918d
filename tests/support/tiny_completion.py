"""A small completion network with random weights that is no identity."""

import torch

from receiver.texture.atlas_completion import CompletionConfig, CompletionNetwork

TINY = CompletionConfig(widths=(4, 6, 8), blocks=(1, 1, 1), attentions=1, heads=2)


def tiny_completion(name: str = "") -> CompletionNetwork:
    """The same weights each time; takes the argument of the function that loads shipped ones."""
    torch.manual_seed(0)
    network = CompletionNetwork(TINY)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return network
