"""A diffusion decoder with random weights for the pictures of `tiny_image_channel`."""

import torch
from torch import nn

from common.channel.diffusion import DiffusionDecoder, DiffusionDecoderConfig
from tests.support.tiny_image_channel import TINY


def tiny_decoder(seed: int = 0) -> DiffusionDecoder:
    """Random weights everywhere, also where a new network has zeros, so that every part acts."""
    torch.manual_seed(seed)
    network = DiffusionDecoder(DiffusionDecoderConfig(TINY.widths, TINY.latents))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.any():
                module.weight.normal_(std=0.1)
    return network.eval()
