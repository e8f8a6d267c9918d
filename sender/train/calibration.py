"""Calibrates the mask head: the threshold at which validation masks have the largest IoU with the true ones.

A mask head trained on overlap draws uncertain masks too large; shifting its bias corrects that.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.perception.network.network import PerceptionNet
from sender.train.crops import CropBatch
from sender.train.scores import intersection_over_union

_CANDIDATES = torch.linspace(-1.5, 1.5, 25)


@torch.no_grad()
def best_mask_threshold(net: nn.Module, batches: Iterable[CropBatch]) -> float:
    """The mask logit from which a cell is the person that gives the largest mean IoU.

    Args:
        net: returns a `PerceptionOutput`.
        batches: crops that it was not trained on.
    """
    net.eval()
    device = device_of(net)
    total = torch.zeros(len(_CANDIDATES), device=device)
    for crops in batches:
        truth = on_device(crops, device)
        with fast_autocast(device.type):
            logits: Tensor = net(truth.image).mask_logits
        person = truth.mask > 0.5
        total += torch.stack([intersection_over_union(logits > threshold, person).sum() for threshold in _CANDIDATES])
    return float(_CANDIDATES[total.argmax()])


@torch.no_grad()
def shift_mask_threshold(net: PerceptionNet, threshold: float) -> None:
    """Subtracts `threshold` from the mask logits, in place; the part logits stay."""
    bias = net.mask.read.bias
    assert bias is not None
    # The first output of the sub-pixel convolution is four channels wide.
    bias[:4] -= threshold
