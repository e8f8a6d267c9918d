"""Expressions of avatars, over all that labels of faces can say."""

import numpy as np
import torch

from common.body.faces import ENTRIES, ExpressionSpace
from common.labels import LABEL_SIZE
from receiver.vmc.humanoid import PERFECT_SYNC, expressions
from tests.support.motion.expressive_people import activations

LARGE = 3.0
"""Standard deviations of an entry."""


def test_each_expression_follows_what_labels_say() -> None:
    """Of every entry of the labels of faces, large and small, and of pairs of them."""
    space, entries = ExpressionSpace.load(), ENTRIES.stop - ENTRIES.start
    axes = torch.cat([LARGE * torch.eye(entries), -LARGE * torch.eye(entries)])
    labels = torch.zeros(len(axes) ** 2, LABEL_SIZE)
    labels[:, ENTRIES] = (axes[:, None] + axes).reshape(-1, entries)
    shown = [expressions(row) for row in space.activations(labels).numpy()]
    largest = {name: max(row[name] for row in shown) for name in shown[0] if name not in PERFECT_SYNC}
    assert len(largest) == 14
    assert {name for name, most in largest.items() if most < 0.2} == set()
    values = np.array([list(row.values()) for row in shown])
    assert values.min() >= 0 and values.max() <= 1


def test_both_lids_follow_their_eyes_alone_and_together() -> None:
    for left, right in ((1.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.0, 0.75)):
        shown = expressions(activations({"eyeBlinkLeft": left, "eyeBlinkRight": right})[0].numpy())
        assert (shown["Blink_L"], shown["Blink_R"]) == (left, right)
