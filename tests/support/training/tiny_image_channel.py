"""An image channel with random weights that is small enough for unit tests."""

import torch
from torch import nn

from common.channel.image_codec import ImageChannel, ImageChannelConfig

TINY = ImageChannelConfig(
    widths=(8, 12, 16), latents=12, hyper_latents=4, hyper_width=8, encoder_depth=1, decoder_depth=1
)


def tiny_network(config: ImageChannelConfig = TINY, seed: int = 0) -> ImageChannel:
    """Random weights everywhere, also where a new network has zeros, so that every part acts."""
    torch.manual_seed(seed)
    network = ImageChannel(config)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.any():
                module.weight.normal_(std=0.1)
    return network.eval()
