"""Task-dependent position encoding (paper eq. 1).

Shapes: B batch, T tasks, P patches = H·W, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def resample_grid(grid_1CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """A learned grid at another resolution, so that one set of weights reads crops of any size."""
    if grid_1CHW.shape[-2:] == size:
        return grid_1CHW
    return functional.interpolate(grid_1CHW, size=size, mode="bicubic", align_corners=False, antialias=False)


class TaskPositionEncoding(nn.Module):
    """PE_task(p) = PE(p) + a learned term of task and place (eq. 1).

    PE(p) enters the trunk with the patches; a head that reads the trunk's patches adds PE_task(p) of its own task.

    Args:
        channels: C.
        grid: the side of the patch grid that the encoding was learned on; other grids are interpolated.
        tasks: T, the number of heads.
    """

    def __init__(self, channels: int, grid: int, tasks: int) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(1, channels, grid, grid))
        self.conditioned = nn.Parameter(torch.zeros(tasks, channels, grid, grid))
        nn.init.trunc_normal_(self.shared, std=0.02)
        nn.init.trunc_normal_(self.conditioned, std=0.02)

    def trunk(self, size: tuple[int, int]) -> Tensor:
        """PE(p), (1, C, H, W)."""
        return resample_grid(self.shared, size)

    def head(self, task: int, size: tuple[int, int]) -> Tensor:
        """PE_task(p) of one task, (1, C, H, W)."""
        return resample_grid(self.shared + self.conditioned[task : task + 1], size)
