"""A trunk that starts from timm's ImageNet weights instead of from nothing: `sender.train.perception --pretrained`.

Only for trainings on a machine with a network; what ships was trained from scratch.  The attention blocks and the grid
of position encodings fit; the convolutional stem, the task tokens and the heads are our own and start as ever.
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
        WeightsError: timm knows no such model, or its weights cannot be fetched.
    """
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    # Whatever the hub's client raises (there are many, and they change) means the same to the user.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"cannot get {name!r} from timm: {reason}; --pretrained needs a network, and a name of timm.list_models()"
        ) from error
    return model


def transplant(model: nn.Module, net: PerceptionNet) -> None:
    """Puts the first blocks and the position encoding of a timm vision transformer into a network's trunk, in place.

    Raises:
        WeightsError: the model is no plain vision transformer, or not of the trunk's width, heads and depth.
    """
    config = net.config
    blocks, position = getattr(model, "blocks", None), getattr(model, "pos_embed", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or position is None or len(blocks) < config.depth:
        raise WeightsError(f"--pretrained takes a plain vision transformer of {config.depth} or more blocks")
    heads = getattr(getattr(blocks[0], "attn", None), "num_heads", None)
    if position.shape[-1] != config.width or heads != config.heads:
        raise WeightsError(
            f"--pretrained takes a vision transformer {config.width} wide with {config.heads} heads; "
            f"this one has {position.shape[-1]} and {heads}"
        )
    try:
        for ours, theirs in zip(net.blocks, blocks, strict=False):
            ours.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        raise WeightsError(
            "--pretrained takes a plain vision transformer; this one's blocks have other parts"
        ) from error
    # Class and register tokens come first; the rest is a square.
    side = math.isqrt(position.shape[1])
    patches = position[:, position.shape[1] - side * side :].detach()
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    size = net.position.shared.shape[-2:]
    net.position.shared.data.copy_(functional.interpolate(grid, size=size, mode="bicubic", antialias=True))
