"""The features X of the CVAE: everything perception says, and the pose head's body once more as label entries.

The pose head speaks of rotation matrices, the labels are principal axes of rotation vectors.  The transform between the
two is known, so it is done here instead of being learned.
"""

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import rotation_6d_to_matrix
from sender.perception.network.output import FEATURE_SIZE as PERCEPTION_FEATURES
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import crop_entries
from sender.semantics.cvae import ENTRIES

FEATURE_SIZE: int = PERCEPTION_FEATURES + ENTRIES


def semantic_features(space: LabelSpace, output: PerceptionOutput) -> Tensor:
    """(B, FEATURE_SIZE) raw features of B crops; the CVAE standardises them."""
    return torch.cat([output.features().float(), pose_entries(space, output)], dim=-1)


def pose_entries(space: LabelSpace, output: PerceptionOutput) -> Tensor:
    """(B, 80) what the pose head's body is as label entries; clamped, for an early guess may be anywhere."""
    u, v, log_extent = output.camera.float().unbind(-1)
    extent = log_extent.clamp(-3, 4).exp()
    # At a focal length of one crop width the distance is the extent; entries do not depend on the choice.
    translation = torch.stack([(u - 0.5) * extent, (v - 0.5) * extent, extent], dim=-1)
    rotations = rotation_6d_to_matrix(output.rotations_6d.float())
    body = BodyParameters(rotations, output.curl.float(), output.shape.float(), translation)
    return crop_entries(space, body, torch.ones_like(extent)).clamp(-5, 5)
