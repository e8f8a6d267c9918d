"""Initialises perception's trunk with timm's ImageNet weights: `sender.train.perception --pretrained`.

This needs internet access; the shipped weights were trained from scratch.  Attention blocks and position encodings are
transferred; the convolutional stem, the task tokens and the heads keep their random initialisation.
"""

import math

import timm
from torch import nn
from torch.nn import functional

from common.errors import WeightsError
from sender.perception.network.network import PerceptionNet

DEFAULT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def fetch(name: str) -> nn.Module:
    """A vision transformer with its weights, from timm's model hub or its cache.

    Raises:
        WeightsError: timm has no such model, or its weights cannot be fetched.
    """
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    # The errors of the hub's client are many and change; all mean the same to the user.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"cannot get {name!r} from timm: {reason}; "
            "--pretrained needs internet access and a name of timm.list_models()"
        ) from error
    return model


def transplant(model: nn.Module, net: PerceptionNet) -> None:
    """Copies the first blocks and the position encoding of a timm vision transformer into a network's trunk, in place.

    Raises:
        WeightsError: the model is not a plain vision transformer, or its width, heads or depth do not fit the trunk.
    """
    config = net.config
    blocks, position = getattr(model, "blocks", None), getattr(model, "pos_embed", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or position is None or len(blocks) < config.depth:
        raise WeightsError(f"--pretrained takes a plain vision transformer of {config.depth} or more blocks")
    heads = getattr(getattr(blocks[0], "attn", None), "num_heads", None)
    if position.shape[-1] != config.width or heads != config.heads:
        raise WeightsError(
            f"--pretrained takes a vision transformer {config.width} wide with {config.heads} heads; "
            f"this one is {position.shape[-1]} wide with {heads}"
        )
    try:
        for block, pretrained in zip(net.blocks, blocks, strict=False):
            block.load_state_dict(pretrained.state_dict())
    except RuntimeError as error:
        raise WeightsError(
            "--pretrained takes a plain vision transformer; the blocks of this one have other layers"
        ) from error
    # Class and register tokens come first; the patches are a square.
    side = math.isqrt(position.shape[1])
    patches = position[:, position.shape[1] - side * side :].detach()
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    size = net.position.shared.shape[-2:]
    net.position.shared.data.copy_(functional.interpolate(grid, size=size, mode="bicubic", antialias=True))
