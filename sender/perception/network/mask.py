"""The mask head: which pixels are the person, and which part of the body each shows."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from sender.perception.network.fusion import MultiScaleFusion


class MaskHead(nn.Module):
    """Multi-scale fusion to a person mask and a part map, twice as fine as the finest scale (sub-pixel convolution).

    Args:
        channels: C_i of each scale, finest first.
        token: width of the task token.
        parts: number of body parts, background included.
        width: channels of the fused map.
    """

    def __init__(self, channels: Sequence[int], token: int, parts: int, width: int = 48) -> None:
        super().__init__()
        self.fusion = MultiScaleFusion(channels, width // 2, width, token)
        self.read = nn.Conv2d(width, 4 * (1 + parts), 3, padding=1)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (B, 2H, 2W) and part logits (B, parts, 2H, 2W), part 0 being the background."""
        maps = functional.pixel_shuffle(self.read(self.fusion(scales, token_BC)), 2).float()
        return maps[:, 0], maps[:, 1:]
