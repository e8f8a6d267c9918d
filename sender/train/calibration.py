"""Where the mask's border lies: the bias of the mask head at which held-out masks overlap best with the true ones.

Trained on overlap, a mask that is unsure is drawn too large.  One number, measured on the hold split, sets that right.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from common.weights.devices import fast_autocast
from sender.perception.network.network import PerceptionNet
from sender.train.crops import CropBatch
from sender.train.scores import intersection_over_union

_CANDIDATES = torch.linspace(-1.5, 1.5, 25)


@torch.no_grad()
def best_border(net: nn.Module, batches: Iterable[CropBatch]) -> float:
    """The logit above which a cell should count as the person, for the largest mean IoU.

    Args:
        net: gives a `PerceptionOutput`.
        batches: crops that it has not learned from.
    """
    net.eval()
    device = next(net.parameters()).device
    total = torch.zeros(len(_CANDIDATES), device=device)
    for crops in batches:
        truth = crops.to(device)
        with fast_autocast(device.type):
            logits: Tensor = net(truth.image).mask_logits
        person = truth.mask > 0.5
        total += torch.stack([intersection_over_union(logits > border, person).sum() for border in _CANDIDATES])
    return float(_CANDIDATES[total.argmax()])


@torch.no_grad()
def move_border(net: PerceptionNet, border: float) -> None:
    """Shifts the mask logits so that what lay at `border` lies at 0; the parts stay as they are."""
    bias = net.mask.read.bias
    assert bias is not None
    # The first output of the sub-pixel convolution is four channels wide.
    bias[:4] -= border
