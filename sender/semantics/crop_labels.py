"""Labels in a crop's camera, and the features X of the CVAE, which contain them.

A crop does not show whether a person is near and the focal length short, or the person far and the focal length long.
In a crop, the `root` group therefore has the pelvis' position in the crop (u, v) and the log of the metres that the
crop spans at the pelvis; the focal length turns these into a translation.  The other groups are as in `common.labels`.

Shapes: B people, E = 80 entries (every group but `appearance`, in the order of the vocabulary).
"""

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import rotation_6d_to_matrix
from common.labels import LABEL_SIZE, group_slices
from sender.perception.network.output import FEATURE_SIZE as PERCEPTION_FEATURES
from sender.perception.network.output import PerceptionOutput
from sender.semantics.cvae import ENTRIES

FEATURE_SIZE: int = PERCEPTION_FEATURES + ENTRIES

_LOG_EXTENT_RANGE = (-3, 4)
# u, v and the log of the metres that the crop spans: their entries in `root`, mean and scale.
_PELVIS = slice(group_slices()["root"].start + 6, group_slices()["root"].stop)
_PELVIS_MEAN = (0.5, 0.5, 0.7)
_PELVIS_SCALE = (0.1, 0.1, 0.4)


def crop_entries(space: LabelSpace, parameters: BodyParameters, focal: Tensor) -> Tensor:
    """(B, E) entries of bodies in the crop's camera space.

    Args:
        focal: (B,) focal length in crop widths.
    """
    entries = space.encode(parameters)[:, :ENTRIES].clone()
    x, y, z = parameters.translation.unbind(-1)
    pelvis = torch.stack([0.5 + focal * x / z, 0.5 + focal * y / z, (z / focal).log()], dim=-1)
    entries[:, _PELVIS] = (pelvis - pelvis.new_tensor(_PELVIS_MEAN)) / pelvis.new_tensor(_PELVIS_SCALE)
    return entries


def body_in_crop(space: LabelSpace, entries: Tensor, focal: Tensor) -> BodyParameters:
    """The inverse of `crop_entries`: bodies from entries (B, E) and focal lengths (B,) in crop widths."""
    labels = torch.cat([entries, entries.new_zeros(len(entries), LABEL_SIZE - ENTRIES)], dim=-1)
    body = space.decode(labels)
    u, v, extent = _pelvis(entries)
    translation = torch.stack([(u - 0.5) * extent, (v - 0.5) * extent, extent * focal], dim=-1)
    return BodyParameters(body.rotations, body.curl, body.shape, translation)


def translation_derivative(entries: Tensor, focal: Tensor) -> Tensor:
    """(B, 3, 3) of the translation in `body_in_crop` by the pelvis' entries, the last three of `root`."""
    u, v, extent = _pelvis(entries)
    zero = torch.zeros_like(u)
    by_extent = torch.stack([(u - 0.5) * extent, (v - 0.5) * extent, extent * focal], dim=-1)
    columns = [torch.stack([extent, zero, zero], -1), torch.stack([zero, extent, zero], -1), by_extent]
    return torch.stack(columns, dim=-1) * entries.new_tensor(_PELVIS_SCALE)


def _pelvis(entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pelvis' position in the crop, u and v (B,), and the metres (B,) that the crop spans there."""
    pelvis = entries[:, _PELVIS] * entries.new_tensor(_PELVIS_SCALE) + entries.new_tensor(_PELVIS_MEAN)
    return pelvis[:, 0], pelvis[:, 1], pelvis[:, 2].clamp(*_LOG_EXTENT_RANGE).exp()


def semantic_features(space: LabelSpace, output: PerceptionOutput) -> Tensor:
    """X, (B, FEATURE_SIZE) of B crops: perception's features, and the pose head's body as label entries.

    The pose head predicts rotation matrices, labels are principal axes of rotation vectors.  The transform between them
    is known, so it need not be learned.  The CVAE standardises X.
    """
    return torch.cat([output.features().float(), pose_entries(space, output)], dim=-1)


def pose_entries(space: LabelSpace, output: PerceptionOutput) -> Tensor:
    """(B, E) entries of the pose head's body, clamped to ±5 because an untrained head may be far off."""
    u, v, log_extent = output.camera.float().unbind(-1)
    extent = log_extent.clamp(*_LOG_EXTENT_RANGE).exp()
    # At a focal length of one crop width, the distance equals the extent; the entries do not depend on this choice.
    translation = torch.stack([(u - 0.5) * extent, (v - 0.5) * extent, extent], dim=-1)
    rotations = rotation_6d_to_matrix(output.rotations_6d.float())
    body = BodyParameters(rotations, output.curl.float(), output.shape.float(), translation)
    return crop_entries(space, body, torch.ones_like(extent)).clamp(-5, 5)
