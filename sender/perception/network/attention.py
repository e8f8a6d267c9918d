"""Task-masked attention (paper eq. 6): softmax((QKᵀ + M_task)/√d) V.

The trunk's sequence is P patches followed by T task tokens.  M_task says who may look at whom:

            patches   own task   other tasks
    patch      0        −∞           −∞          the shared trunk does not depend on which tasks read it
    task    learned   learned        −∞          each task gathers what it needs, undisturbed by the others

The learned part is a bias for every block, attention head, task and place in the crop.
"""

import math

import torch
from torch import Tensor, nn

from sender.perception.network.position_encoding import resample_grid


class TaskMask(nn.Module):
    """M_task of all blocks, ready to be handed to timm's attention as an additive mask.

    Args:
        blocks: number of trunk blocks.
        heads: attention heads in each.
        head_size: d, the width of one attention head.
        grid: side of the patch grid that the bias is learned on.
        tasks: T.
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
