"""Cloth that spans both legs: skirts, dresses and tails of coats.

The template has two legs.  In a skirt the insides of both lie in its front and back middle, and skinning would tear the
skirt in two there when the legs part.  What spans the legs therefore follows both, the more the nearer it is to the
middle; that is linear blend skinning by weights that are blended with those of the other leg.  Published bodies,
surfaces and exported characters all have these weights, which depend on the outfit alone.

Shapes: B people, V' vertices of the template, L of them on hips and legs, S bones, R rows down the legs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray, IntArray
from common.body.anatomy import REGION_INDEX, SKELETON, mirror_permutation
from common.body.template import BodyTemplate
from common.weights.devices import to_numpy
from receiver.mesh.skinned_glb import INFLUENCES, Reweighted, Skeleton, largest_weights

_LEGS = ("hips", "thigh.L", "thigh.R", "shin.L", "shin.R")
_ROWS = 24
# The inside of a leg faces the other one by so much.
_FACING = 0.4
# Trousers let the insides of the legs out; what moves them along the skin by more than the first of these, metres,
# spans the legs in part, and wholly from the second.  What moves less than the last is bare.
_ALONG_M, _WORN_M = (0.042, 0.055), 0.01
# From the middle out to so many times the distance of the legs' axes, the weights of both legs are blended.
_REACH = 1.6
# Where published weights of both legs differ by less, a vertex moves the same with either; and the smallest share that
# is told from the rounding of float32.
_DIFFERENT, _LEAST_SHARE = 1e-3, 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Clothes:
    """What a person wears, on the template; the same in all frames in which the outfit is. Tensors are on the host.

    Args:
        displacement: (V', 3) in the rest pose, camera axes, metres.
        shares: (L,) how far legs follow the other one, 0…1; None if nothing spans both.
        reweighted: what these shares change.
        part: (V',) the outermost layer, index into `receiver.outfits.dressing.PARTS`; None if only the shape is known.
    """

    displacement: Tensor
    shares: Tensor | None = None
    reweighted: Reweighted | None = None
    part: IntArray | None = None


def stacked(worn: Sequence[Clothes]) -> tuple[Tensor, Tensor]:
    """Displacements (B, V', 3) of people, and shares (B, L) of their legs, or (B, 0) if nobody's follow the other."""
    spanning = next((each.shares for each in worn if each.shares is not None), torch.zeros(0))
    nothing = torch.zeros_like(spanning)
    shares = [nothing if each.shares is None else each.shares for each in worn]
    return torch.stack([each.displacement for each in worn]), torch.stack(shares)


class LegSpan(nn.Module):
    """Finds what spans the legs, on the host.

    Attributes:
        vertices: (L,) indices of the hips and legs in the template.
    """

    legs: Tensor
    rest: Tensor
    normals: Tensor
    to_rows: Tensor
    from_rows: Tensor
    reach_m: Tensor
    change: Tensor

    def __init__(self, template: BodyTemplate) -> None:
        super().__init__()
        legs = np.flatnonzero(np.isin(template.region, [REGION_INDEX[name] for name in _LEGS]))
        rest, normals = template.rest[legs], template.vertex_normals(template.rest)[legs]
        row = (rest[:, 1] - rest[:, 1].min()) / np.ptp(rest[:, 1]) * (_ROWS - 1)
        near = np.maximum(1 - np.abs(row[:, None] - np.arange(_ROWS)), 0)
        inside = near * (normals[:, :1] * np.sign(rest[:, :1]) < -_FACING)
        axis_m = (near * np.abs(rest[:, :1])).sum(0) / near.sum(0)
        self.vertices: IntArray = legs
        self._weights: FloatArray = template.weights[legs]
        self._change: FloatArray = self._weights[:, mirror_permutation(SKELETON)] - self._weights
        self.register_buffer("legs", torch.from_numpy(legs), persistent=False)
        arrays = {
            "rest": rest,
            "normals": normals,
            "to_rows": inside / np.maximum(inside.sum(0), 1e-6),
            "from_rows": near.T,
            "reach_m": _REACH * near @ axis_m,
            "change": self._change,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)

    def clothes(self, displacement: Tensor) -> Clothes:
        """The clothes that displace the template by (V', 3) in the rest pose, camera axes, metres."""
        shares = self.shares(displacement)
        if not bool(shares.any()):
            return Clothes(displacement)
        return Clothes(displacement, shares, self.reweighted(to_numpy(shares)))

    def shares(self, displacement: Tensor) -> Tensor:
        """(L,) how far the vertices of a template with a displacement (V', 3) follow the other leg, 0…1.

        Those of the mean body, so that they change with the outfit only.
        """
        moved = displacement[self.legs]
        # The halves lie over each other in the middle, so that some of a half is on the other side.
        across = ((self.rest + moved)[:, 0] * self.rest[:, 0].sign() / self.reach_m).clamp(-1, 1)
        return 0.5 * self._spans(moved) * (1 - across * (1.5 - 0.5 * across.square()))

    def reweighted(self, shares: FloatArray) -> Reweighted:
        """The vertices that follow the other leg by shares (L,), with their largest weights."""
        spanning = np.flatnonzero(shares)
        weights = self._weights[spanning] + shares[spanning, None] * self._change[spanning]
        return Reweighted(self.vertices[spanning], *largest_weights(weights, INFLUENCES))

    def shares_of(self, skeleton: Skeleton) -> FloatArray:
        """(L,) the shares that a body was published with, by its weights: the inverse of `reweighted`.

        The weights t of a vertex are the largest of w + s d, divided by their sum; of all s and sums, those with the
        smallest squared error.
        """
        joints, kept = skeleton.vertex_joints[self.vertices], skeleton.vertex_weights[self.vertices].astype(np.float64)
        own, change = (
            np.where(kept > 0, np.take_along_axis(dense, joints.astype(np.int64), axis=1), 0)
            for dense in (self._weights, self._change)
        )
        along = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        own, change = (each - along * (along * each).sum(axis=1, keepdims=True) for each in (own, change))
        difference = np.linalg.norm(change, axis=1)
        found = -(own * change).sum(axis=1) / np.maximum(difference, _DIFFERENT) ** 2
        return np.where((difference > _DIFFERENT) & (found > _LEAST_SHARE), found.clip(max=1), 0).astype(np.float32)

    def _spans(self, moved: Tensor) -> Tensor:
        """(L,) whether a vertex of the legs, displaced by (L, 3), is of something that spans them: 0…1."""
        outwards = (moved * self.normals).sum(-1, keepdim=True) * self.normals
        along_m = (moved - outwards).norm(dim=-1) @ self.to_rows
        rows = ((along_m - _ALONG_M[0]) / (_ALONG_M[1] - _ALONG_M[0])).clamp(0, 1)
        # What spans the legs does so from the hips down.
        worn = (moved.norm(dim=-1) / _WORN_M).clamp(max=1)
        spans: Tensor = worn * (rows.flip(0).cummax(0).values.flip(0) @ self.from_rows)
        return spans
