"""Task conditioning: task-dependent position encoding (paper eq. 1) and task-masked attention (eq. 6).

Attention is softmax((QKᵀ + M_task)/√d) V over P patches followed by T task tokens.  M_task by query (row) and key
(column):

            patches   own task   other tasks
    patch      0        −∞           −∞          the trunk does not depend on which tasks read it
    task    learned   learned        −∞          tasks do not disturb each other

The learned part is a bias for every block, attention head, task and patch.

Shapes: T tasks, P patches = H·W, C channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def resample_grid(grid_1CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resamples a learned grid (bicubic) to `size`, so that one set of weights reads crops of any size."""
    if grid_1CHW.shape[-2:] == size:
        return grid_1CHW
    return functional.interpolate(grid_1CHW, size=size, mode="bicubic", align_corners=False, antialias=False)


class TaskPositionEncoding(nn.Module):
    """PE_task(p) = PE(p) + a learned term of task and position (eq. 1).

    PE(p) is added to the patches before the trunk; each head adds PE_task(p) of its own task to the trunk's patches.

    Args:
        grid: side of the patch grid that the encoding is learned on, in patches; other grids are interpolated.
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


class TaskMask(nn.Module):
    """M_task of all blocks, as an additive mask for timm's attention.

    Args:
        head_size: d, the width of one attention head.
        grid: side of the patch grid that the bias is learned on, in patches.
    """

    def __init__(self, blocks: int, heads: int, head_size: int, grid: int, tasks: int) -> None:
        super().__init__()
        self.heads, self.tasks = heads, tasks
        self.scale = 1.0 / math.sqrt(head_size)
        self.patch_bias = nn.Parameter(torch.zeros(blocks, heads * tasks, grid, grid))
        self.own_bias = nn.Parameter(torch.zeros(blocks, heads, tasks))

    def forward(self, size: tuple[int, int]) -> Tensor:
        """M_task/√d for a patch grid of `size`: (blocks, heads, P + T, P + T)."""
        blocks, patches = len(self.own_bias), size[0] * size[1]
        bias = resample_grid(self.patch_bias, size).reshape(blocks, self.heads, self.tasks, patches)
        own = torch.eye(self.tasks, dtype=torch.bool, device=bias.device)
        between = torch.where(own, self.own_bias[..., None], -torch.inf)
        task_rows = torch.cat([bias, between], dim=-1) * self.scale
        patch_rows = task_rows.new_zeros(blocks, self.heads, patches, patches + self.tasks)
        patch_rows[..., patches:] = -torch.inf
        return torch.cat([patch_rows, task_rows], dim=-2)
