"""The convolutional stem: features at strides 4 and 8, finer than the few tokens of the trunk can represent."""

from torch import Tensor, nn


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3×3 convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.activation(x_BCHW + self.second(self.first(x_BCHW)))  # type: ignore[no-any-return]


class Refinement(nn.Module):
    """A residual block that is the identity at first, so that it can be inserted into a trained network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.branch[2].weight)  # type: ignore[arg-type]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.branch(x_BCHW)  # type: ignore[no-any-return]


class ConvStem(nn.Module):
    """Crop (B, 3, S, S) → features at stride 4 (B, quarter, S/4, S/4) and stride 8 (B, eighth, S/8, S/8).

    Args:
        refinements: residual blocks at stride 8, after the first.
    """

    def __init__(self, quarter: int = 48, eighth: int = 96, refinements: int = 1) -> None:
        super().__init__()
        self.quarter = nn.Sequential(convolution(3, 24, 2), convolution(24, quarter, 2), convolution(quarter, quarter))
        blocks = (Refinement(eighth) for _ in range(refinements))
        self.eighth = nn.Sequential(convolution(quarter, eighth, 2), Residual(eighth), *blocks)

    def forward(self, image_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(image_B3SS)
        return quarter, self.eighth(quarter)
