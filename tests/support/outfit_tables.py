"""Small tables of outfits whose displacements are exactly what their `surface` entries decode to, plus detail."""

from pathlib import Path

import numpy as np
import torch

from common.body.surface_space import SurfaceSpace
from common.synthetic.clothed.outfit_table import DISPLACEMENT_STEP_M, OutfitTable, write_shard
from common.synthetic.dataset.split import Split

DETAIL_M = 0.002


def outfit_table(count: int, seed: int = 0) -> OutfitTable:
    """`count` outfits with standard normal entries, and detail of `DETAIL_M` that the entries do not tell."""
    space, generator = SurfaceSpace.load(), torch.Generator().manual_seed(seed)
    surface = torch.randn(count, 24, generator=generator)
    fields = space.decode(surface)
    fields = fields + DETAIL_M * torch.randn(count, 1, 3, generator=generator)
    vertices = fields.shape[1]
    return OutfitTable(
        displacement=np.round(fields.numpy() / DISPLACEMENT_STEP_M).astype(np.int16),
        surface=surface.numpy(),
        material=np.zeros((count, vertices), np.uint8),
        shape=torch.randn(count, 10, generator=generator).numpy(),
    )


def write_outfits(folder: Path, split: Split, count: int) -> None:
    """One shard of `outfit_table`."""
    write_shard(folder / f"{split}-0000000000", outfit_table(count))
