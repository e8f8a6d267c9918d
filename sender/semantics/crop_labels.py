"""Labels in a crop's camera.

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
from common.body.model import BodyParameters, matrix_to_rotation_6d, rotation_6d_to_matrix
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.perception.output import pose_of_features
from sender.semantics.namespace import Array, namespace

ENTRIES: int = group_slices()["appearance"].start
"""E: those of every group up to `hands`."""

_LOG_EXTENT_RANGE = (-3, 4)
# u, v and the log of the metres that the crop spans: their entries in `root`, mean and scale.
PELVIS = slice(group_slices()["root"].start + 6, group_slices()["root"].stop)
_LEAST_DEPTH_M = 0.05
_PELVIS_MEAN = (0.5, 0.5, 0.7)
_PELVIS_SCALE = (0.1, 0.1, 0.4)


def crop_entries(space: LabelSpace, parameters: BodyParameters, focal: Tensor) -> Tensor:
    """(B, E) entries of bodies in the crop's camera space.

    Args:
        focal: (B,) focal length in crop widths.
    """
    x, y, z = parameters.translation.unbind(-1)
    pelvis = torch.stack([0.5 + focal * x / z, 0.5 + focal * y / z, (z / focal).log()], dim=-1)
    return _entries(space, parameters.rotations, parameters.curl, parameters.shape, pelvis)


def _entries(space: LabelSpace, rotations: Tensor, curl: Tensor, shape: Tensor, pelvis: Tensor) -> Tensor:
    """`crop_entries`, with u, v of the pelvis and the log of the metres that the crop spans there (B, 3)."""
    columns = zip(pelvis.unbind(1), _PELVIS_MEAN, _PELVIS_SCALE, strict=True)
    position = torch.stack([(value - mean) / scale for value, mean, scale in columns], 1)
    orientation = matrix_to_rotation_6d(rotations[:, 0]) / ROTATION_SCALE
    return torch.cat([orientation, position, shape, space.encode_pose(rotations, curl)], 1)


def body_in_crop(space: LabelSpace, entries: Tensor, focal: Tensor) -> BodyParameters:
    """The inverse of `crop_entries`: bodies from entries (B, E) and focal lengths (B,) in crop widths."""
    body = space.decode(functional.pad(entries, (0, LABEL_SIZE - ENTRIES)))
    return replace(body, translation=pelvis_in_crop(entries, focal[:, None]))


def pelvis_in_crop(entries: Array, focal: Array) -> Array:
    """The pelvis (B, 3) in the crop's camera space, metres, of entries (B, E) and focal lengths (B, 1)."""
    log_extent = entries[:, 8:9] * _PELVIS_SCALE[2] + _PELVIS_MEAN[2]
    extent = namespace(entries).exp(log_extent.clip(*_LOG_EXTENT_RANGE))
    return namespace(entries).concatenate((_PELVIS_SCALE[0] * entries[:, 6:8] * extent, extent * focal), 1)


def entries_of_pelvis(pelvis: Array, focal: Array) -> Array:
    """(B, 3) the pelvis' entries, of pelvises (B, 3) before the crop's camera; the inverse of `pelvis_in_crop`."""
    xp, depth = namespace(pelvis), pelvis[:, 2:].clip(_LEAST_DEPTH_M)
    log_extent = (xp.log(depth / focal) - _PELVIS_MEAN[2]) / _PELVIS_SCALE[2]
    return xp.concatenate((focal * pelvis[:, :2] / depth / _PELVIS_SCALE[0], log_extent), 1)


def pelvis_by_entries(pelvis: Array, focal: Array) -> Array:
    """(B, 3, 3) the derivatives of `pelvis_in_crop` by the pelvis' entries, the last three of `root`."""
    xp = namespace(pelvis)
    across = _PELVIS_SCALE[0] * pelvis[:, 2:] / focal
    none = xp.zeros_like(across)
    columns = ((across, none, none), (none, across, none))
    return xp.stack((*(xp.concatenate(column, 1) for column in columns), _PELVIS_SCALE[2] * pelvis), 2)


def pose_entries(space: LabelSpace, features: Tensor) -> Tensor:
    """(B, E) entries of the pose head's body, clamped to ±5 because an untrained head may be far off."""
    rotations, shape, curl, camera = pose_of_features(features)
    pelvis = torch.cat([camera[:, :2], camera[:, 2:].clamp(*_LOG_EXTENT_RANGE)], 1)
    return _entries(space, rotation_6d_to_matrix(rotations), curl, shape, pelvis).clamp(-5, 5)
