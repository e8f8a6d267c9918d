"""Labels as the crop's camera sees them: the same vocabulary, with the pelvis given in the crop instead of in space.

Inside a crop nobody can tell a near small camera from a far long one, so the CVAE learns where the pelvis stands in the
crop (u, v) and how many metres the crop spans there; the focal length turns these into a place in space.

Shapes: B people, E = 80 entries (every group but `appearance`, in the order of the vocabulary).
"""

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.labels import LABEL_SIZE, group_slices
from sender.semantics.cvae import ENTRIES

_PLACE = slice(group_slices()["root"].start + 6, group_slices()["root"].stop)
_PLACE_MEAN = (0.5, 0.5, 0.7)
_PLACE_SCALE = (0.1, 0.1, 0.4)


def crop_entries(space: LabelSpace, parameters: BodyParameters, focal: Tensor) -> Tensor:
    """(B, E) entries of bodies in the crop's camera.

    Args:
        focal: (B,) focal length in crop widths.
    """
    entries = space.encode(parameters)[:, :ENTRIES].clone()
    x, y, z = parameters.translation.unbind(-1)
    place = torch.stack([0.5 + focal * x / z, 0.5 + focal * y / z, (z / focal).log()], dim=-1)
    entries[:, _PLACE] = (place - place.new_tensor(_PLACE_MEAN)) / place.new_tensor(_PLACE_SCALE)
    return entries


def body_in_crop(space: LabelSpace, entries: Tensor, focal: Tensor) -> BodyParameters:
    """The inverse: bodies in the crop's camera from entries (B, E) and focal lengths (B,) in crop widths."""
    labels = torch.cat([entries, entries.new_zeros(len(entries), LABEL_SIZE - ENTRIES)], dim=-1)
    body = space.decode(labels)
    place = entries[:, _PLACE] * entries.new_tensor(_PLACE_SCALE) + entries.new_tensor(_PLACE_MEAN)
    extent = place[:, 2].clamp(-3, 4).exp()
    translation = torch.stack([(place[:, 0] - 0.5) * extent, (place[:, 1] - 0.5) * extent, extent * focal], dim=-1)
    return BodyParameters(body.rotations, body.curl, body.shape, translation)
