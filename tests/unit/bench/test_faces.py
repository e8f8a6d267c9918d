"""Heads that are rendered, and photographed faces."""

import numpy as np

from common.body.anatomy import FACIAL_ACTIONS
from tests.bench.face.people import judged_faces
from tests.bench.face.samples import draw_activations


def test_drawn_activations_are_possible() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_activations(rng) for _ in range(400)])
    assert drawn.min() == 0 and drawn.max() <= 1
    assert 0.05 < (drawn.max(axis=1) == 0).mean() < 0.15
    left, right = (drawn[:, FACIAL_ACTIONS.index(f"eyeLookOut{side}")] for side in ("Left", "Right"))
    assert not (left * right).any(), "eyes diverge"


def test_judged_faces_answer_all_questions() -> None:
    answers = np.array(list(judged_faces().values()))
    assert answers.shape == (124, 3)
    assert set(answers.ravel()) == {"?", "closed", "parted", "open", "no", "yes", "down"}
