"""Multi-scale fusion, which the heads that predict maps share (paper eq. 2).

Shapes: X_i of scale i is (B, C_i, H_i, W_i).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from sender.perception.network.stem import Refinement


class ChannelNorm(nn.LayerNorm):
    """LN over the channels of a (B, C, H, W) map."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ScaleBranch(nn.Sequential):
    """σ(BN(Conv3×3(ReLU(Conv1×1(LN(X_i)))))), one summand of eq. 2; σ is SiLU, which does not saturate."""

    def __init__(self, channels: int, hidden: int, outputs: int) -> None:
        super().__init__(
            ChannelNorm(channels),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class MultiScaleFusion(nn.Module):
    """Σ_i of the scale branches (eq. 2), each upsampled to the finest scale; the task token scales the channels.

    The coarser scales are summed and refined before the finest is added.

    Args:
        channels: C_i of each scale, finest first.
        hidden: width between the two convolutions of a branch.
        outputs: channels of the fused map.
        token: width of the task token.
    """

    def __init__(self, channels: Sequence[int], hidden: int, outputs: int, token: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ScaleBranch(count, hidden, outputs) for count in channels)
        self.refine = Refinement(outputs)
        self.gain = nn.Linear(token, outputs)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> Tensor:
        """Fused map (B, outputs, H, W) at the size of `scales[0]`."""
        maps = [branch(x) for branch, x in zip(self.branches, scales, strict=True)]
        fused = upsample_and_add([maps[0], self.refine(upsample_and_add(maps[1:]))])
        scaled: Tensor = fused * (1.0 + self.gain(token_BC))[:, :, None, None]
        return scaled


def upsample_and_add(maps: Sequence[Tensor]) -> Tensor:
    """Sum of maps, finest first, at the finest resolution; coarser ones are upsampled step by step (bilinear)."""
    total = maps[-1]
    for finer in reversed(maps[:-1]):
        if total.shape[-2:] != finer.shape[-2:]:
            total = functional.interpolate(total, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        total = total + finer
    return total
