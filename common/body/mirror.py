"""Left and right: the order in which a mirrored body's keypoints, joints, curls and regions stand.

x → −x maps a rotation R to M R M with M = diag(−1, 1, 1).
"""

import torch

from common.body.anatomy import COCO_KEYPOINTS, CURLS, JOINTS, REGIONS
from common.body.model import BodyParameters


def mirrored_order(names: tuple[str, ...]) -> list[int]:
    """For each name the index of its mirror image: left and right change places, the rest stays."""
    return [names.index(_other_side(name)) for name in names]


def _other_side(name: str) -> str:
    for here, there in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name[:-1] + {"L": "R", "R": "L"}[name[-1]] if name.endswith((".L", ".R")) else name


KEYPOINT_ORDER = mirrored_order(COCO_KEYPOINTS)
JOINT_ORDER = mirrored_order(JOINTS)
CURL_ORDER = mirrored_order(CURLS)
REGION_ORDER = mirrored_order(REGIONS)
PART_ORDER = [0, *(1 + index for index in REGION_ORDER)]
"""Of part maps, whose part 0 is the background."""
MIRROR = (-1.0, 1.0, 1.0)
"""The diagonal of M."""


def mirrored_body(body: BodyParameters) -> BodyParameters:
    """The bodies on the other side of the plane x = 0."""
    flip = torch.tensor(MIRROR)
    rotations = body.rotations[:, JOINT_ORDER] * flip[:, None] * flip
    return BodyParameters(rotations, body.curl[:, CURL_ORDER], body.shape, body.translation * flip)
