"""Convolutions in fixed point, whose results are equal on every machine (Ballé, Johnston and Minnen 2019).

Weights are multiples of 2⁻¹⁰ below 32, activations multiples of 2⁻⁶ below 2¹², biases multiples of 2⁻¹⁶.  So products
and sums are multiples of 2⁻¹⁶, and those of these layers are far below 2³⁶: float64 represents each of them exactly,
and the order of a sum does not matter.  In training the same layers compute in float32, and rounding has the gradient
of the identity.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHT_BITS, ACTIVATION_BITS = 10, 6
BIAS_BITS = WEIGHT_BITS + ACTIVATION_BITS
WEIGHT_LIMIT, ACTIVATION_LIMIT, BIAS_LIMIT = 2**5 - 2**-10, 2**12, 2**12
_NEGATIVE_SLOPE = 1 / 8


class Rounding(torch.autograd.Function):
    """Multiples of 2^−bits, halves rounded up, with the gradient of the identity (straight-through)."""

    @staticmethod
    def forward(_context: object, x: Tensor, bits: int) -> Tensor:
        rounded: Tensor = torch.floor(x * 2**bits + 0.5) * 2**-bits
        return rounded

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def to_grid(x: Tensor, bits: int) -> Tensor:
    """The nearest multiples of 2^−bits, halves rounded up; the gradient is that of the identity."""
    rounded: Tensor = Rounding.apply(x, bits)
    return rounded


class FixedPointConv(nn.Module):
    """A convolution with stride 1 and an odd kernel, zero-padded; its result is rounded to the grid of activations.

    Args:
        inputs, outputs: channels.
        kernel: pixels along a side.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        plain = nn.Conv2d(inputs, outputs, kernel)
        self.weight, self.bias = plain.weight, plain.bias
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) on the grid to (B, outputs, h, w) on the grid; exact in float64."""
        weight, bias = self.on_grid()
        sums = _exact_convolution(x, weight, bias) if x.dtype == torch.float64 else self._fast(x, weight, bias)
        return to_grid(sums.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT), ACTIVATION_BITS)

    def on_grid(self) -> tuple[Tensor, Tensor]:
        """Weight and bias, rounded to their grids and within their limits."""
        assert self.bias is not None
        weight = to_grid(self.weight.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT), WEIGHT_BITS)
        return weight, to_grid(self.bias.clamp(-BIAS_LIMIT, BIAS_LIMIT), BIAS_BITS)

    def _fast(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.conv2d(x, weight, bias, padding=self.kernel // 2)


def _exact_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As sums of products alone: a library's convolution may take a transform whose steps are not exact."""
    count, _, height, width = x.shape
    kernel = weight.shape[-1]
    columns = functional.unfold(x, kernel, padding=kernel // 2) if kernel > 1 else x.flatten(2)
    return (weight.flatten(1) @ columns + bias[:, None]).view(count, -1, height, width)


def leaky(x: Tensor) -> Tensor:
    """max(x, x/8) on the grid."""
    return to_grid(functional.leaky_relu(x, _NEGATIVE_SLOPE), ACTIVATION_BITS)
