"""Arms that nobody has seen: they hang at the sides."""

from typing import Final

import torch

from common.arrays import Float64Array
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.labels import group_slices

ARMS: Final = ("left_arm", "right_arm")
# From the A-pose at rest: upper arms turn down beside the trunk, and elbows are straighter; radians.
_DOWN, _STRAIGHTER = 0.6, 0.4


def hanging(space: LabelSpace) -> dict[str, Float64Array]:
    """The entries of both arms where they hang."""
    body = BodyParameters.rest()
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns = {"upperarm01": [0.0, 0.0, sign * _DOWN], "lowerarm01": [_STRAIGHTER, 0.0, 0.0]}
        for bone, vector in turns.items():
            body.rotations[0, JOINT_INDEX[f"{bone}.{side}"]] = axis_angle_to_matrix(torch.tensor(vector))
    with torch.inference_mode():
        labels = space.encode(body)[0].double().numpy()
    return {name: labels[group_slices()[name]] for name in ARMS}
