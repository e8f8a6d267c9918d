"""Labels in a crop's camera, and the features X of the CVAE, which contain them.

A crop does not show whether a person is near and the focal length short, or the person far and the focal length long.
In a crop, the `root` group therefore has the pelvis' position in the crop (u, v) and the log of the metres that the
crop spans at the pelvis; the focal length turns these into a translation.  The other groups are as in `common.labels`.

Shapes: B people, E = 80 entries (every group but `appearance`, in the order of the vocabulary).
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.rotations import rotation_6d_to_matrix
from common.labels import LABEL_SIZE, group_slices
from sender.perception.network.output import FEATURE_SIZE as PERCEPTION_FEATURES
from sender.perception.network.output import PerceptionOutput
from sender.semantics.cvae import ENTRIES
from sender.semantics.namespace import Array, namespace

FEATURE_SIZE: int = PERCEPTION_FEATURES + ENTRIES

_LOG_EXTENT_RANGE = (-3, 4)
# u, v and the log of the metres that the crop spans: their entries in `root`, mean and scale.
PELVIS = slice(group_slices()["root"].start + 6, group_slices()["root"].stop)
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
    entries[:, PELVIS] = (pelvis - pelvis.new_tensor(_PELVIS_MEAN)) / pelvis.new_tensor(_PELVIS_SCALE)
    return entries


def body_in_crop(space: LabelSpace, entries: Tensor, focal: Tensor) -> BodyParameters:
    """The inverse of `crop_entries`: bodies from entries (B, E) and focal lengths (B,) in crop widths."""
    body = space.decode(functional.pad(entries, (0, LABEL_SIZE - ENTRIES)))
    return replace(body, translation=pelvis_in_crop(entries, focal[:, None]))


def pelvis_in_crop(entries: Array, focal: Array) -> Array:
    """The pelvis (B, 3) in the crop's camera space, metres, of entries (B, E) and focal lengths (B, 1)."""
    log_extent = entries[:, 8:9] * _PELVIS_SCALE[2] + _PELVIS_MEAN[2]
    extent = namespace(entries).exp(log_extent.clip(*_LOG_EXTENT_RANGE))
    return namespace(entries).concatenate((_PELVIS_SCALE[0] * entries[:, 6:8] * extent, extent * focal), 1)


def pelvis_by_entries(pelvis: Array, focal: Array) -> Array:
    """(B, 3, 3) the derivatives of `pelvis_in_crop` by the pelvis' entries, the last three of `root`."""
    xp = namespace(pelvis)
    across = _PELVIS_SCALE[0] * pelvis[:, 2:] / focal
    none = xp.zeros_like(across)
    columns = ((across, none, none), (none, across, none))
    return xp.stack((*(xp.concatenate(column, 1) for column in columns), _PELVIS_SCALE[2] * pelvis), 2)


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
