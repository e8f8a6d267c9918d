"""MoveNet SinglePose: a MobileNetV2 with a feature pyramid and four heads (after CenterNet, Zhou et al. 2019).

The layers are those of Google's networks (Lightning, Thunder), whose weights were converted.  Batch norms are folded
into the convolutions.  The heads that give lengths are computed only in the cells that are read.

Shapes: B crops, S height and W width of the crop, J = 17 COCO keypoints, H×W cells of 4 pixels, K cells of a crop.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sender.perception.network.keypoints import KEYPOINTS, full_precision

STRIDE = 4
# (channels, blocks, stride of the first) at width 1; the first block does not expand (Sandler et al. 2018, table 2).
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_STEM, _LAST, _EXPANSION = 32, 1280, 6
# The last blocks of strides 16, 8 and 4, which the pyramid reads, and channels at these strides.
_LATERAL_BLOCKS, _PYRAMID = (9, 5, 2), (64, 32, 24)
_HEAD = 96
_COARSEST_STRIDE_PX = 32
# Of the side of a crop, the width that shows most people who stand upright: half of those in photographs.
_NARROW = 0.62


@dataclass(frozen=True, slots=True)
class MoveNetConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        size: S in pixels, a multiple of 32.
        width: channels of the MobileNetV2 over those of its paper.
    """

    size: int = 192
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % _COARSEST_STRIDE_PX or self.width <= 0:
            raise ValueError(f"crops must be a multiple of 32 pixels wide, and the width positive: {asdict(self)}")

    @property
    def narrow(self) -> int:
        """Width in pixels of a crop that shows somebody upright, a multiple of 32."""
        return _COARSEST_STRIDE_PX * math.ceil(_NARROW * self.size / _COARSEST_STRIDE_PX)

    def channels(self, at_width_1: int) -> int:
        """The nearest multiple of 8; no less than nine tenths, as in MobileNetV2."""
        wanted = at_width_1 * self.width
        nearest = max(8, int(wanted + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * wanted else nearest


class Maps(NamedTuple):
    """What the heads predict; lengths in cells, of keypoint j at 2j (y) and 2j + 1 (x).

    Args:
        centre: (B, 1, H, W) logits of the person's centre.
        heat: (B, J, H, W) logits of the keypoints.
        regression: rows and columns (B, K) of cells → (B, K, 2J) from the centre to the keypoints.
        offset: likewise, from the cell to the keypoint in it.
    """

    centre: Tensor
    heat: Tensor
    regression: Callable[[Tensor, Tensor], Tensor]
    offset: Callable[[Tensor, Tensor], Tensor]


class MoveNetNet(nn.Module):
    """Crops (B, S, W, 3) RGB, bytes or 0…255 → `Maps`."""

    def __init__(self, config: MoveNetConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.channels(_STEM)
        self.stem = _Convolution(3, inputs, 3, 2)
        blocks: list[_InvertedResidual] = []
        for channels, repeats, stride in _STAGES:
            for repeat in range(repeats):
                outputs, expansion = config.channels(channels), _EXPANSION if blocks else 1
                blocks.append(_InvertedResidual(inputs, outputs, expansion, 1 if repeat else stride))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = _Convolution(inputs, _LAST, 1)
        self.coarsest = nn.Conv2d(_LAST, _PYRAMID[0], 1)
        self.lateral = nn.ModuleList(
            nn.Conv2d(blocks[block].outputs, channels, 1)
            for block, channels in zip(_LATERAL_BLOCKS, _PYRAMID, strict=True)
        )
        nexts = (*_PYRAMID[1:], _PYRAMID[-1])
        self.merge = nn.ModuleList(_separable(*channels) for channels in zip(_PYRAMID, nexts, strict=True))
        self.centre, self.heat = _Head(1), _Head(KEYPOINTS)
        self.regression, self.offset = _Head(2 * KEYPOINTS), _Head(2 * KEYPOINTS)

    def forward(self, crops_BSW3: Tensor) -> Maps:
        x, seen = self.stem(crops_BSW3.permute(0, 3, 1, 2).float() / 127.5 - 1.0), {}
        for number, block in enumerate(self.blocks):
            x = seen[number] = block(x)
        merged = self.coarsest(self.last(x))
        for number, lateral, merge in zip(_LATERAL_BLOCKS, self.lateral, self.merge, strict=True):
            finer = functional.interpolate(merged, scale_factor=2.0, mode="bilinear", align_corners=False)
            merged = merge(finer + lateral(seen[number]))
        lengths = (partial(head.at, merged) for head in (self.regression, self.offset))
        return Maps(self.centre(merged).float(), self.heat(merged).float(), *lengths)


class _Convolution(nn.Conv2d):
    """Convolution with padding as in TensorFlow, where at stride 2 nothing is added at left and top; ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = functional.pad(x_BCHW, (0, 1, 0, 1)) if self.stride[0] == 2 else x_BCHW
        return functional.relu6(super().forward(x))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        self.outputs, inner = outputs, expansion * inputs
        self.expand = _Convolution(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _Convolution(inner, inner, 3, stride, groups=inner)
        self.project = nn.Conv2d(inner, outputs, 1)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y if self._adds else y


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1), nn.ReLU())


class _Head(nn.Sequential):
    def __init__(self, outputs: int) -> None:
        super().__init__(*_separable(_PYRAMID[-1], _HEAD), nn.Conv2d(_HEAD, outputs, 1))

    def at(self, x_BCHW: Tensor, rows_BK: Tensor, columns_BK: Tensor) -> Tensor:
        """Its outputs (B, K, C) in some cells, in float32."""
        width = x_BCHW.shape[-1] + 2
        steps = torch.arange(3, device=x_BCHW.device)
        # Numbers of the cells around, in a map with a border of one cell.
        around = (rows_BK[..., None, None] + steps[:, None]) * width + columns_BK[..., None, None] + steps
        padded = functional.pad(x_BCHW.float(), (1, 1, 1, 1)).flatten(2)
        cells = around.flatten(1)[:, None].expand(-1, padded.shape[1], -1)
        windows_BCK9 = padded.gather(2, cells).unflatten(2, (-1, steps.numel() ** 2))
        depthwise, widen, _, last = self
        assert isinstance(depthwise.weight, Tensor)
        with full_precision(x_BCHW):
            seen = (windows_BCK9 * depthwise.weight.flatten(1)[:, None]).sum(dim=-1).transpose(1, 2)
            return _pointwise(last, functional.relu(_pointwise(widen, seen)))


def _pointwise(convolution: nn.Module, x_BKC: Tensor) -> Tensor:
    """A convolution of one pixel, of cells in a row."""
    assert isinstance(convolution, nn.Conv2d)
    y_BKC: Tensor = functional.linear(x_BKC, convolution.weight.flatten(1), convolution.bias)
    return y_BKC
