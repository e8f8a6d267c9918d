"""The blend shapes of the label group `head_shape`: a head beyond what `shape` says of it; zero is the mean.

They are principal directions of Anny's symmetric blend shapes of face and head, of those that landmarks of photographs
tell best ([training](../../docs/training.md)), and leave place, direction and size of the face as they are.  Each is a
smooth field in space, so that lids stay on eyeballs and lips on teeth: the triharmonic spline (Duchon 1977) through
displacements of 418 places, of which those on the person's left are stored.
"""

from typing import Final

import torch
from torch import Tensor

from common.body.anatomy import MIRROR_SIGNS
from common.body.model import BodyModel
from common.weights.loader import load_weights

WEIGHTS_NAME: Final = "head_shapes"
GROUP: Final = "head_shape"
# Heights at rest between which the shapes fade out down the neck, metres.
_NECK_M = (-0.58, -0.53)


def load_head_shapes(body: BodyModel) -> Tensor:
    """(16, V, 3) displacement of the body's vertices at rest by a standard deviation of each entry, metres.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    stored = load_weights(WEIGHTS_NAME)
    return head_shapes(body, stored["places_m"], stored["moves_m"])


def head_shapes(body: BodyModel, half_m: Tensor, moves_m: Tensor) -> Tensor:
    """(K, V, 3) what the body's vertices do where places of the left half, (P, 3), do (P, K, 3)."""
    aside, mirror = half_m[:, 0] > 0, torch.tensor(MIRROR_SIGNS)
    rest = body.rest_vertices[0].cpu()
    head = torch.nonzero(rest[:, 1] < _NECK_M[1])[:, 0]
    shares = field_of(both_halves(half_m).double(), rest[head].double()).float()
    moved = torch.einsum("np,pkd->knd", shares, torch.cat([moves_m, moves_m[aside] * mirror]))
    return moved.new_zeros(len(moved), *rest.shape).index_copy(1, head, moved).to(body.rest_vertices.device)


def both_halves(half_m: Tensor) -> Tensor:
    """Places (P, 3) of the left half, then those of the right one."""
    return torch.cat([half_m, half_m[half_m[:, 0] > 0] * half_m.new_tensor(MIRROR_SIGNS)])


def field_of(places: Tensor, points: Tensor) -> Tensor:
    """(N, P) what displacements of places (P, 3) are worth at points (N, 3) of the body at rest."""
    count = len(places)
    affine = torch.cat([places.new_ones(count, 1), places], 1)
    system = places.new_zeros(count + 4, count + 4)
    system[:count, :count] = torch.cdist(places, places) ** 3
    system[:count, count:], system[count:, :count] = affine, affine.T
    design = torch.cat([torch.cdist(points, places) ** 3, points.new_ones(len(points), 1), points], 1)
    shares: Tensor = torch.linalg.solve(system, design.T)[:count].T
    full, none = _NECK_M
    fade = ((none - points[:, 1]) / (none - full)).clamp(0, 1)
    return shares * (fade * fade * (3 - 2 * fade))[:, None]
