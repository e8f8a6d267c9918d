"""Matrices of trained networks in 8 bits: integers, and one scale for each output channel.

    "layer.weight"        int8      round(w / scale)
    "layer.weight:scale"  float32   the step: 1/24 of the channel's root mean square, or 1/127 of its largest value

The root mean square of the error is 1.2 % of the weights'.  Finer steps would take the same bytes here, but more in the
compressed file.  Vectors (biases, norms) and small matrices are stored in 16 bits, integers as they are.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

SCALE: Final = ":scale"
_STEPS_PER_DEVIATION: Final = 24
_LARGEST: Final = 127
# A table of narrow rows, such as standard deviations of coefficients, is no matrix to multiply by.
_FEWEST_VALUES, _FEWEST_OF_CHANNEL = 4096, 64
_SMALLEST_STEP: Final = 1e-20


def quantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices and kernels as int8 with their scales; other floating-point tensors as float16."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            stored[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < _FEWEST_VALUES or tensor[0].numel() < _FEWEST_OF_CHANNEL:
            stored[name] = tensor.half()
        else:
            stored[name + SCALE] = scale = _scale(tensor.float())
            stored[name] = (tensor.float() / scale).round().to(torch.int8)
    return stored


def dequantised(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantised`, up to rounding; float32 in place of int8."""
    return {
        name: tensor.float() * stored[name + SCALE] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }


def _scale(tensor: Tensor) -> Tensor:
    """(C, 1, …) for a tensor (C, …)."""
    axes = tuple(range(1, tensor.ndim))
    finest = tensor.abs().amax(axes, keepdim=True) / _LARGEST
    step = tensor.square().mean(axes, keepdim=True).sqrt() / _STEPS_PER_DEVIATION
    return torch.maximum(finest, step).clamp_min(_SMALLEST_STEP)
