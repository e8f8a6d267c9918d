"""Left and right: the order in which a mirrored body's keypoints, joints, curls and regions stand.

x → −x maps a rotation R to M R M with M = diag(−1, 1, 1).
"""

import torch

from common.body.anatomy import COCO_KEYPOINTS, CURLS, JOINTS, REGIONS, mirror_permutation
from common.body.model import BodyParameters

KEYPOINT_ORDER = mirror_permutation(COCO_KEYPOINTS)
JOINT_ORDER = mirror_permutation(JOINTS)
CURL_ORDER = mirror_permutation(CURLS)
REGION_ORDER = mirror_permutation(REGIONS)
PART_ORDER = [0, *(1 + index for index in REGION_ORDER)]
"""Of part maps, whose part 0 is the background."""
MIRROR = (-1.0, 1.0, 1.0)
"""The diagonal of M."""


def mirrored_body(body: BodyParameters) -> BodyParameters:
    """The bodies on the other side of the plane x = 0."""
    flip = torch.tensor(MIRROR)
    rotations = body.rotations[:, JOINT_ORDER] * flip[:, None] * flip
    return BodyParameters(rotations, body.curl[:, CURL_ORDER], body.shape, body.translation * flip)
