"""NanoDet: a detector of people of plain convolutions, with cross-stage partial blocks and a path aggregation network.

The layers are those of NanoDet-g (RangiLyu), whose weights were converted: batch norms are folded into convolutions,
and of 80 classes people alone are computed.

    image ─ stem ─ stages ─ 8 ─┐   top-down, bottom-up
                            16 ├── sums of neighbours ── heads ── score, and the distances of a box's sides
                            32 ┘

Distances are means of eleven bins (Li et al., *Generalized focal loss*, 2020).

Shapes: B pictures, H and W their height and width, C = H·W·(1/8² + 1/16² + 1/32²) cells of all strides.
"""

from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES: Final = (8, 16, 32)
_SLOPE = 0.1
_BINS = 11
# Of red, green and blue; the network was trained with blue first, which its first layer's weights no longer are.
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class NanoDetConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        size: longer side of a picture in pixels, a multiple of 32.
        width: channels of the stem.
        pyramid: channels of all strides after the stages.
    """

    size: int = 416
    width: int = 32
    pyramid: int = 128

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % STRIDES[-1] or min(self.width, self.pyramid) < 1:
            raise ValueError(f"pictures must be a multiple of 32 pixels large, widths positive: {asdict(self)}")


def _convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.LeakyReLU(_SLOPE))


class _Part(nn.Module):
    """Of the channels, half go through one convolution, half through two."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, channels), _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat([self.second(first), first], dim=1)


class _Stage(nn.Module):
    """(B, inputs, H, W) → (B, 2 inputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, stride: int, parts: int) -> None:
        super().__init__()
        self.enter = _convolution(inputs, inputs, stride)
        self.parts = nn.Sequential(*(_Part(inputs, inputs // 2) for _ in range(parts)))
        self.leave = _convolution(inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.parts(x)), x], dim=1)


class NanoDetNet(nn.Module):
    """Pictures (B, H, W, 3) RGB, bytes or 0…255 → logits (B, C) of people and their boxes (B, C, 4), pixels."""

    def __init__(self, config: NanoDetConfig) -> None:
        super().__init__()
        self.config = config
        # Computed, not stored; where the network is, for a GPU.
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION), persistent=False)
        c, p = config.width, config.pyramid
        self.stem = _convolution(3, c, 2)
        self.stages = nn.ModuleList(
            _Stage(c << number, 2 if number else 1, parts) for number, parts in enumerate((1, 2, 2, 3))
        )
        self.reduce = nn.ModuleList(nn.Conv2d(c << number, p, 1) for number in (2, 3, 4))
        self.heads = nn.ModuleList(nn.Sequential(_convolution(p, p), nn.Conv2d(p, 1 + 4 * _BINS, 1)) for _ in STRIDES)

    def forward(self, image_BHW3: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(((image_BHW3.float() - self.mean) / self.deviation).permute(0, 3, 1, 2))
        x, maps = functional.max_pool2d(x, 3, 2, 1), list[Tensor]()
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        eighth, sixteenth, last = (reduce(x) for reduce, x in zip(self.reduce, maps[1:], strict=True))
        sixteenth = sixteenth + _doubled(last)
        eighth = eighth + _doubled(sixteenth)
        sixteenth = sixteenth + functional.avg_pool2d(eighth, 2)
        last = last + functional.avg_pool2d(sixteenth, 2)
        found = (
            _of_cells(head(x), stride)
            for head, x, stride in zip(self.heads, (eighth, sixteenth, last), STRIDES, strict=True)
        )
        logits, boxes = zip(*found, strict=True)
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _of_cells(x_BFHW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Logits and boxes of the cells of one stride."""
    height, width = x_BFHW.shape[2:]
    values = x_BFHW.float().flatten(2).transpose(1, 2)
    bins = torch.arange(_BINS, dtype=torch.float32, device=values.device)
    distances = stride * (values[..., 1:].unflatten(2, (4, _BINS)).softmax(dim=3) * bins).sum(dim=3)
    rows, columns = (torch.arange(length, dtype=torch.float32, device=values.device) for length in (height, width))
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    centres = stride * (torch.stack([column, row], dim=2).flatten(0, 1) + 0.5)
    return values[..., 0], torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=2)
