"""Building blocks of the image channel's networks; activations are (B, C, H, W)."""

from torch import Tensor, nn
from torch.nn import functional


class Modulation(nn.Module):
    """Scale and shift of features by a condition of each position (FiLM, Perez et al. 2018); starts as the identity.

    Args:
        condition: channels of the condition.
        channels: of the features.
    """

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(condition, 2 * channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        projected: Tensor = self.project(condition)
        scale, shift = projected.chunk(2, dim=1)
        return x * (1 + scale) + shift


class Bottleneck(nn.Module):
    """Residual bottleneck block (He et al. 2016) without normalisation, modulated where it has a condition.

    Starts as the identity, so that a new network is a linear transform.

    Args:
        channels: in and out; half as many inside.
        condition: channels of the condition; 0 for none.
    """

    def __init__(self, channels: int, condition: int = 0) -> None:
        super().__init__()
        inner = channels // 2
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.modulation = Modulation(condition, inner) if condition else None
        self.mix = nn.Conv2d(inner, inner, 3, padding=1)
        self.expand = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        inner: Tensor = self.reduce(x)
        if self.modulation is not None and condition is not None:
            inner = self.modulation(inner, condition)
        inner = functional.relu(self.mix(functional.relu(inner)))
        expanded: Tensor = self.expand(inner)
        return x + expanded


class Blocks(nn.Module):
    """Several residual blocks with the same condition."""

    def __init__(self, count: int, channels: int, condition: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Bottleneck(channels, condition) for _ in range(count))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


def upsampling(inputs: int, outputs: int) -> nn.Sequential:
    """Sub-pixel convolution (Shi et al. 2016): twice the height and width."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))
