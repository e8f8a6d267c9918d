"""What rendered heads do."""

import numpy as np

from common.body.anatomy import FACIAL_ACTIONS
from sender.train.heads.samples import draw_activations


def test_drawn_activations_are_possible() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_activations(rng) for _ in range(400)])
    assert drawn.min() == 0 and drawn.max() <= 1
    assert 0.05 < (drawn.max(axis=1) == 0).mean() < 0.15
    left, right = (drawn[:, FACIAL_ACTIONS.index(f"eyeLookOut{side}")] for side in ("Left", "Right"))
    assert not (left * right).any(), "eyes diverge"
