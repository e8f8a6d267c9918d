"""Estimates the colours of what no camera has seen of a person, from what has been seen of them: a conditional flow.

    known texels ─ their mirror points ─ smooth filling f ─┬─ network, one step ─ r ─ f + σ r ─ estimate
                                             noise ────────┘

The flow leads in straight lines from noise at time 1 to the difference between the true colours and the smooth filling
at time 0 (flow matching, Lipman et al. 2023).  It works on an atlas of `COMPLETION_SIZE` texels a side, about 12 mm of
the body each: what a back looks like in general, not its pattern.  Regions that belong together are far from each other
in an atlas, so the network has a learned value for each place, and attention between all of them.

Shapes: B people, s = `COMPLETION_SIZE`, S = `ATLAS_SIZE`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, ByteArray, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.imaging.layers import Blocks, upsampling
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import reduced
from common.texture.hole_filling import filled
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded

COMPLETION_SIZE = 128
WEIGHTS_NAME = "atlas_completion"
KIND = "atlas_completion"
DIFFERENCE = 0.15
"""Standard deviation σ of true colours around the smooth filling, 0…1."""
CONDITION_CHANNELS = 6
_SCALE = ATLAS_SIZE // COMPLETION_SIZE
_TIME_FEATURES = 2
_COLOUR_GAIN = 4.0
_SEED = 1


@dataclass(frozen=True, slots=True)
class CompletionConfig:
    """Sizes.

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of s.
        blocks: residual blocks at each of them, on the way down and on the way up.
        attentions: layers of attention at 1/8.
    """

    widths: tuple[int, int, int] = (48, 96, 192)
    blocks: tuple[int, int, int] = (1, 2, 2)
    attentions: int = 2
    heads: int = 6


class Attention(nn.Module):
    """Residual self-attention between all positions of (B, C, h, w); starts as the identity.

    Args:
        channels: C, a multiple of the heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm = nn.GroupNorm(1, channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = self.project(self.norm(x)).reshape(batch, 3, self._heads, channels // self._heads, height * width)
        query, key, value = parts.transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(-1, -2).reshape(batch, channels, height, width)
        out: Tensor = x + self.leave(mixed)
        return out


class CompletionNetwork(nn.Module):
    """Estimates scaled differences from the smooth filling, from a point on the way to them."""

    def __init__(self, config: CompletionConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        inputs = 4 * (3 + CONDITION_CHANNELS)
        side = COMPLETION_SIZE
        self.places = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(1, width, side // scale, side // scale))
            for width, scale in zip(config.widths, (2, 4, 8), strict=True)
        )
        self.enter = nn.Conv2d(inputs, half, 3, padding=1)
        self.down = nn.ModuleList(
            Blocks(count, width, _TIME_FEATURES) for count, width in zip(config.blocks, config.widths, strict=True)
        )
        self.reduce = nn.ModuleList((nn.Conv2d(half, quarter, 2, stride=2), nn.Conv2d(quarter, eighth, 2, stride=2)))
        self.attentions = nn.ModuleList(Attention(eighth, config.heads) for _ in range(config.attentions))
        self.between = nn.ModuleList(Blocks(config.blocks[2], eighth, _TIME_FEATURES) for _ in range(config.attentions))
        self.enlarge = nn.ModuleList((upsampling(eighth, quarter), upsampling(quarter, half)))
        self.up = nn.ModuleList(
            (Blocks(config.blocks[1], quarter, _TIME_FEATURES), Blocks(config.blocks[0], half, _TIME_FEATURES))
        )
        self.leave = nn.Conv2d(half, 4 * 3, 3, padding=1)

    def forward(self, point: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        """Differences r (B, 3, s, s), in float32.

        Args:
            point: (B, 3, s, s) on the way from noise to r.
            condition: (B, 6, s, s) of `Condition`.
            time: (B,) 0…1.
        """
        t = time[:, None, None, None]
        features = torch.cat((4 * t - 2, torch.cos(torch.pi * t)), dim=1)
        x = self.enter(functional.pixel_unshuffle(torch.cat((point, condition), dim=1), 2))
        half = self.down[0](x + self.places[0], features)
        quarter = self.down[1](self.reduce[0](half) + self.places[1], features)
        x = self.down[2](self.reduce[1](quarter) + self.places[2], features)
        for attention, blocks in zip(self.attentions, self.between, strict=True):
            x = blocks(attention(x), features)
        x = self.up[0](self.enlarge[0](x) + quarter, features)
        x = self.up[1](self.enlarge[1](x) + half, features)
        difference: Tensor = functional.pixel_shuffle(self.leave(x), 2)
        return difference.float()


class _InUse(nn.Module):
    """The network as others are in use: a tuple of outputs."""

    def __init__(self, network: CompletionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.network(*inputs),)


@dataclass(frozen=True, slots=True, eq=False)
class CoarseLayout:
    """A layout at the size of the completion.

    Args:
        skin: (s, s) whether a texel shows skin.
        mirrored, mirror: (n,) flat indices of texels that have a mirror texel, and of those.
        nearest: (s, s) flat indices of the nearest texel that shows skin.
    """

    skin: BoolArray
    mirrored: IntArray
    mirror: IntArray
    nearest: IntArray

    @classmethod
    def from_layout(cls, layout: AtlasLayout) -> Self:
        """From the layout of the whole atlas."""
        coarse = layout.squares(_SCALE)
        skin = np.zeros((COMPLETION_SIZE, COMPLETION_SIZE), np.bool_)
        skin.reshape(-1)[coarse] = True
        paired = np.flatnonzero(layout.mirror >= 0)
        mirrored, count = np.unique(coarse[paired], return_counts=True)
        # The middle one of the texels that a coarse texel covers, in the order of their rows.
        middle = np.argsort(coarse[paired], kind="stable")[np.cumsum(count) - count + count // 2]
        rows, columns = distance_transform_edt(~skin, return_distances=False, return_indices=True)
        return cls(
            skin,
            mirrored.astype(np.int64),
            coarse[layout.mirror[paired[middle]]].astype(np.int64),
            (rows * COMPLETION_SIZE + columns).astype(np.int64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What the network is told of a person.

    Args:
        filling: (3, s, s) float32, 0…1: the smooth filling.
        channels: (6, s, s) float32: the filling, and what is known, mirrored and skin.
    """

    filling: Tensor
    channels: Tensor

    @classmethod
    def from_colours(cls, layout: CoarseLayout, colours: ByteArray, known: BoolArray) -> Self:
        """From colours (s, s, 3) and known texels (s, s)."""
        seen = known & layout.skin
        texels, covered = colours.reshape(-1, 3).copy(), seen.reshape(-1).copy()
        chosen = np.flatnonzero(covered[layout.mirror] & ~covered[layout.mirrored])
        texels[layout.mirrored[chosen]] = texels[layout.mirror[chosen]]
        covered[layout.mirrored[chosen]] = True
        both = covered.reshape(seen.shape)
        whole = filled(texels.reshape(colours.shape), both).astype(np.float32) / 255
        filling = torch.from_numpy(whole).permute(2, 0, 1)
        masks = torch.from_numpy(np.stack([seen, both & ~seen, layout.skin]).astype(np.float32))
        return cls(filling, torch.cat(((filling - 0.5) * _COLOUR_GAIN, masks)))


@torch.no_grad()
def estimated(network: Callable[..., Tensor], condition: Tensor, generator: torch.Generator) -> Tensor:
    """Differences r (B, 3, s, s) for conditions (B, 6, s, s), by one Euler step: the mean of what is plausible.

    More steps invent detail, and are farther from validation people.
    """
    noise = torch.randn(len(condition), 3, COMPLETION_SIZE, COMPLETION_SIZE, generator=generator).to(condition.device)
    return network(noise, condition, condition.new_ones(len(condition)))


class AtlasCompletion:
    """The trained network, for one person at a time; may be used by several threads."""

    def __init__(self, network: CompletionNetwork, layout: AtlasLayout, device: torch.device = CPU) -> None:
        place = torch.zeros(1, 3 + CONDITION_CHANNELS, COMPLETION_SIZE, COMPLETION_SIZE)
        example = place[:, :3], place[:, 3:], torch.ones(1)
        self._network = in_use(_InUse(network), example, WEIGHTS_NAME, device=device)
        self._layout = CoarseLayout.from_layout(layout)

    @classmethod
    def load(cls, layout: AtlasLayout, device: torch.device = CPU) -> Self:
        """With the package's weights. Raises WeightsError if they are missing, damaged or outdated."""
        return cls(load_network(), layout, device)

    def estimate(self, texture: Texture) -> ByteArray:
        """(s, s, 3) uint8 RGB: colours of the whole body, with seams extended; the same for the same texture."""
        colours, known = reduced(texture.colours, texture.known, _SCALE)
        condition = Condition.from_colours(self._layout, colours, known)
        generator = torch.Generator().manual_seed(_SEED)
        difference = estimated(lambda *inputs: self._network(*inputs)[0], condition.channels[None], generator)[0]
        estimate = 255 * (condition.filling + DIFFERENCE * difference).permute(1, 2, 0).numpy()
        whole = np.rint(estimate).clip(0, 255).astype(np.uint8)
        return np.asarray(whole.reshape(-1, 3)[self._layout.nearest])


def load_network() -> CompletionNetwork:
    """The trained network. Raises WeightsError if the weights are missing, damaged or of another version."""
    return load_recorded(WEIGHTS_NAME, KIND, CompletionConfig, CompletionNetwork)
