"""MoveNet SinglePose (Google, Apache-2.0): 17 keypoints of one person in a square crop.

A MobileNetV2 with a feature pyramid and four heads (after CenterNet, Zhou et al. 2019).  The layers are those of
Google's networks (Lightning, Thunder), whose weights were converted.  Batch norms are folded into the convolutions.
The heads that give lengths are computed only in the cells that are read.

    centre, less far from the middle ─ argmax ─ regressed keypoints there
    heat map, less far from the regressed keypoint ─ argmax ─ offset there

Google divides both maps by distances.  Among many people that takes others for the person in the middle, and a limb far
from where it is regressed is lost: centres are divided by squared distances here, heat maps weighted by a Gaussian.
Chosen on training photographs, whose PCK@0.05 in boxes that raises from 0.670 to 0.682.

Shapes: B crops, S height and W width of the crop, J = 17 COCO keypoints, H×W cells of 4 pixels, K cells of a crop;
narrow crops show the middle columns of square ones, in whose units lengths are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import ByteArray
from common.tensor_rows import TensorRows
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from sender.perception.heads import KEYPOINTS, argmax_of_maps, full_precision

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


# Added to distances, in cells, by which maps are divided.
_DISTANCE_CELLS = 1.8
# Standard deviation of the weight around a regressed keypoint, crop units.
_NEAR = 0.125
# Of a window around a peak, half the side in cells.
_WINDOW_CELLS = 3
_LEAST_HEAT = 1e-6


class MoveNetGraph(nn.Module):
    """MoveNet in use: crops (B, S, W, 3) uint8 RGB → what `decoded` gives."""

    def __init__(self, net: MoveNetNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops_BSW3: Tensor) -> tuple[Tensor, ...]:
        return decoded(self.net(crops_BSW3))


def decoded(maps: Maps) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One person's keypoints: the one nearest to the middle, of those whose centre is seen.

    Returns:
        (B, J, 2) keypoints as x, y in crop units, 0…1.
        (B, J) score: the heat map where the keypoint is, 0…1.
        (B, J) standard deviation of the heat map around its peak, of one coordinate, crop units.
        (B, J) distance between the keypoint and the one that the centre regresses, crop units.
    """
    heat = maps.heat.sigmoid()
    side, width = heat.shape[-2:]
    rows, columns = _grid(heat)
    from_middle = _distance(rows, columns, side / 2, width / 2) + _DISTANCE_CELLS
    centre = maps.centre.sigmoid() / from_middle.square()
    row, column = _highest(centre)
    regression = maps.regression(row, column)[:, 0].unflatten(1, (-1, 2)) + torch.stack([row, column], dim=-1)
    y, x = regression[..., None, None].unbind(dim=2)
    near = torch.exp(-(_distance(rows, columns, y, x) / (_NEAR * side)).square() / 2)
    row, column = _highest(heat * near)
    # Of the offsets in a keypoint's cell, its own.
    own = torch.eye(heat.shape[1], device=heat.device)[:, :, None]
    offset_y, offset_x = (maps.offset(row, column).unflatten(2, (-1, 2)) * own).sum(dim=2).unbind(dim=2)
    x, y = column + offset_x, row + offset_y
    cells = (row * width + column)[..., None]
    score = heat.flatten(2).gather(2, cells)[..., 0]
    apart = (torch.stack([y, x], dim=-1) - regression).norm(dim=-1)
    places = torch.stack([x + (side - width) / 2, y], dim=-1)
    return places / side, score, _spread(heat, row, column) / side, apart / side


def _grid(map_HW: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (H, 1) and columns (1, W) of cells."""
    rows, columns = (torch.arange(count, device=map_HW.device, dtype=torch.float32) for count in map_HW.shape[-2:])
    return rows[:, None], columns[None]


def _distance(rows: Tensor, columns: Tensor, y: Tensor | float, x: Tensor | float) -> Tensor:
    return ((rows - y).square() + (columns - x).square()).sqrt()


def _highest(maps_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (B, K) of the highest cell of each map."""
    width, cell = maps_BKHW.shape[-1], argmax_of_maps(maps_BKHW)
    row = torch.div(cell, width, rounding_mode="floor")
    return row, cell - row * width


def _spread(heat_BJHW: Tensor, rows_BJ: Tensor, columns_BJ: Tensor) -> Tensor:
    """(B, J) standard deviation around the cell of each keypoint, in cells, within a window."""
    height, width = heat_BJHW.shape[-2:]
    steps = torch.arange(-_WINDOW_CELLS, _WINDOW_CELLS + 1, device=heat_BJHW.device)
    down, across = (step.flatten() for step in torch.meshgrid(steps, steps, indexing="ij"))
    rows, columns = rows_BJ[..., None] + down, columns_BJ[..., None] + across
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    heat = heat_BJHW.flatten(2).gather(2, cells) * inside
    squares = (down.square() + across.square()).float() / 2
    return ((heat * squares).sum(dim=-1) / heat.sum(dim=-1).clamp_min(_LEAST_HEAT)).sqrt()


Name = Literal["movenet_lightning", "movenet_thunder"]
"""Crops of 192 pixels, or of 256 and 1.75 times the width."""
NAMES: tuple[Name, ...] = get_args(Name)
KIND = "movenet-singlepose-4"
MARGIN: Final = 1.1
"""Side of the crop over the longer side of the person's box."""


@dataclass(frozen=True, slots=True)
class SecondKeypoints(TensorRows):
    """What MoveNet says of B crops, one or several views together.

    Args:
        places: (B, J, 2).
        score: (B, J) 0…1.
        spread: (B, J) standard deviation of the heat map around its peak.
        apart: (B, J) distance from the keypoint that the person's centre regresses.
        between: (B, J) standard deviation of the views' places; 0 of one view.
    """

    places: Tensor
    score: Tensor
    spread: Tensor
    apart: Tensor
    between: Tensor


class MoveNet:
    """Finds the keypoints of the person in the middle of a crop.

    Args:
        compiled: makes `MoveNetGraph` in use for crops of a width.
        size: S, height of the crops in pixels.
        narrow: width of those that show the middle alone.
    """

    def __init__(self, compiled: Callable[[int], NetworkInUse], size: int, narrow: int) -> None:
        self._compiled, self.size, self.narrow = compiled, size, narrow

    @cached_property
    def _networks(self) -> dict[int, NetworkInUse]:
        """By the width of crops: compiled when somebody is seen, as most sources need one network of MoveNet's."""
        return {width: self._compiled(width) for width in (self.size, self.narrow)}

    @classmethod
    def load(cls, name: Name, device: torch.device = CPU, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """A shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        config, build = later(name, KIND, MoveNetConfig, MoveNetNet, directory)
        entry, size = find_entry(name, directory), config.size

        @cache
        def graph() -> MoveNetGraph:
            return MoveNetGraph(build().to(memory_format=torch.channels_last))

        def compiled(width: int) -> NetworkInUse:
            example = torch.zeros(1, size, width, 3, dtype=torch.uint8)
            return in_use(graph, (example,), name, entry.precision, device, entry.int8, stored=entry)

        network = cls(compiled, size, config.narrow)
        if device.type != "cpu":
            # A GPU's graphs are captured while nothing else runs.
            _ = network._networks
        return network

    def observe(self, crops: Sequence[ByteArray]) -> SecondKeypoints:
        """Keypoints in crops (S, W, 3) uint8 RGB, black beyond the picture; lengths in units of square crops.

        Raises:
            ValueError: there is no crop, they differ in shape, or are of another shape.
        """
        shapes = {crop.shape for crop in crops}
        network = self._networks.get(crops[0].shape[1]) if len(shapes) == 1 else None
        if network is None or crops[0].shape[::2] != (self.size, 3):
            raise ValueError(f"expected RGB crops of {self.size}×{[*self._networks]} pixels, got {sorted(shapes)}")
        places, score, spread, apart = network(torch.from_numpy(np.stack(crops)))
        return SecondKeypoints(places, score, spread, apart, torch.zeros_like(score))
