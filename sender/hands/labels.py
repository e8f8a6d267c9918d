"""Finger poses as labels: matrices of the label space, so that a hand costs microseconds.

Shapes: 4 curls in the order of `CURLS`, 8 entries of the fingers of a hand, 10 of the group `hands`.
"""

from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import CURLS, FINGER_BONES, JOINTS, MIRROR_TURN_SIGNS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.labels import GROUP_BY_NAME, LABEL_SIZE, group_slices

SIDES: Final = ("left", "right")
GROUPS: Final = tuple(f"{side}_fingers" for side in SIDES)
HANDS: Final = "hands"
_CURLS_OF_A_HAND = len(CURLS) // 2
_ENTRIES = GROUP_BY_NAME[GROUPS[0]].size


class FingerLabels:
    """Turns rotation vectors of phalanges into entries of the fingers' groups and of `hands`, which has the curls."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        hands = group_slices()[HANDS]
        with torch.inference_mode():
            each = torch.eye(3 * len(FINGER_BONES)).unflatten(1, (-1, 3))
            self._curls, self._fingers = (matrix.numpy() for matrix in space.encode_fingers(each, body))
            upright = torch.eye(3).expand(1 + len(CURLS), len(JOINTS), 3, 3)
            steps = torch.cat([torch.zeros(1, len(CURLS)), torch.eye(len(CURLS))])
            entries = space.encode_pose(upright, steps)[:, -GROUP_BY_NAME[HANDS].size :].numpy()
            self._entries_by_curl = entries[1:] - entries[0]
            curls = space.decode_vectors(torch.cat([torch.zeros(1, LABEL_SIZE), torch.eye(LABEL_SIZE)[hands]]))[1]
            self._mean, self._curls_by_entry = curls[0].numpy(), (curls[1:] - curls[0]).numpy()

    def encoded(self, vectors: Float64Array, hands: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
        """The entries (8,) of one hand's fingers, and those (10,) of `hands` with its curls.

        Args:
            vectors: (15, 3) of its phalanges, as those of a left hand.
            hands: (10,) entries of that group until now.
            side: 0 left, 1 right.
        """
        both = np.zeros((2, *vectors.shape), np.float32)
        both[side] = vectors * MIRROR_TURN_SIGNS if side else vectors
        own = slice(side * _CURLS_OF_A_HAND, (side + 1) * _CURLS_OF_A_HAND)
        change = (both.ravel() @ self._curls - self._mean - hands @ self._curls_by_entry)[own]
        fingers = (both.ravel() @ self._fingers)[side * _ENTRIES : (side + 1) * _ENTRIES]
        return fingers, hands + change @ self._entries_by_curl[own]
