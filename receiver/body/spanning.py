"""Cloth that spans both legs: skirts, dresses and tails of coats.

The template has two legs.  In a skirt the insides of both lie in its front and back middle, and skinning would tear the
skirt in two there when the legs part.  On the surface, what spans the legs therefore follows both, the more the nearer
it is to the middle; that is linear blend skinning by weights that are blended with those of the other leg.

Shapes: B people, V' vertices of the template, L of them on hips and legs, S bones, R rows down the legs.
"""

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, SKELETON, mirror_permutation
from common.body.model import BodyModel, BodyOutput, BodyParameters, skin
from common.body.template import BodyTemplate
from common.weights.devices import device_of, to_numpy

_LEGS = ("hips", "thigh.L", "thigh.R", "shin.L", "shin.R")
_ROWS = 24
# The inside of a leg faces the other one by so much.
_FACING = 0.4
# Trousers let the insides of the legs out; what moves them along the skin by more than the first of these, metres,
# spans the legs in part, and wholly from the second.  What moves less than the last is bare.
_ALONG_M, _WORN_M = (0.042, 0.055), 0.01
# From the middle out to so many times the distance of the legs' axes, the weights of both legs are blended.
_REACH = 1.6


class LegSpan(nn.Module):
    """Poses what spans the legs.

    Args:
        model: the body.
        template: of it.
    """

    legs: Tensor
    rest: Tensor
    normals: Tensor
    to_rows: Tensor
    from_rows: Tensor
    reach_m: Tensor
    change: Tensor

    def __init__(self, model: BodyModel, template: BodyTemplate) -> None:
        super().__init__()
        self._model = (model,)
        legs = np.flatnonzero(np.isin(template.region, [REGION_INDEX[name] for name in _LEGS]))
        rest, normals = template.rest[legs], template.vertex_normals(template.rest)[legs]
        row = (rest[:, 1] - rest[:, 1].min()) / np.ptp(rest[:, 1]) * (_ROWS - 1)
        near = np.maximum(1 - np.abs(row[:, None] - np.arange(_ROWS)), 0)
        inside = near * (normals[:, :1] * np.sign(rest[:, :1]) < -_FACING)
        axis_m = (near * np.abs(rest[:, :1])).sum(0) / near.sum(0)
        weights = template.weights[legs]
        self.register_buffer("legs", torch.from_numpy(legs), persistent=False)
        arrays = {
            "normals": normals,
            "to_rows": inside / np.maximum(inside.sum(0), 1e-6),
            "from_rows": near.T,
            "reach_m": _REACH * near @ axis_m,
            "change": weights[:, mirror_permutation(SKELETON)] - weights,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array).float().to(device_of(model)), persistent=False)
        self.register_buffer("rest", model.rest_vertices[:, template.kept][:, legs], persistent=False)

    def forward(self, parameters: BodyParameters, displacement: Tensor, output: BodyOutput) -> Tensor | None:
        """(B, V', 3) posed templates in which what spans the legs follows both; None if nothing does.

        Args:
            displacement: (B, V', 3) in the rest pose, camera axes, metres.
            output: the templates, posed by their own weights.
        """
        moved = displacement[:, self.legs]
        spans = self._spans(moved)
        if not bool(spans.any()):
            return None
        rows = nn.functional.pad(parameters.shape, (1, 0), value=1.0)
        rest = torch.einsum("bc,cld->bld", rows, self.rest) + moved
        (model,) = self._model
        joints = model.rest_joints_of(parameters.shape)
        change = skin(rest, joints, output.joint_positions, output.joint_rotations, self.change)
        return output.vertices.index_add(1, self.legs, self._shares(spans, rest)[..., None] * change)

    def weights(self, template: BodyTemplate, displacement: FloatArray) -> FloatArray:
        """(V', S) skinning weights of a template with a displacement (V', 3) at rest, camera axes, metres."""
        moved = torch.from_numpy(displacement)[None].to(self.legs.device)[:, self.legs]
        share = self._shares(self._spans(moved), self.rest[:1] + moved)[0]
        weights = template.weights.copy()
        weights[to_numpy(self.legs)] += to_numpy(share[:, None] * self.change)
        return weights

    def _shares(self, spans: Tensor, rest: Tensor) -> Tensor:
        """(B, L) how far displaced vertices (B, L, 3) at rest follow the other leg, 0…1."""
        # The halves lie over each other in the middle, so that some of a half is on the other side.
        across = (rest[..., 0] * self.rest[0, :, 0].sign() / self.reach_m).clamp(-1, 1)
        shares: Tensor = 0.5 * spans * (1 - across * (1.5 - 0.5 * across.square()))
        return shares

    def _spans(self, displacement: Tensor) -> Tensor:
        """(B, L) whether a vertex of the legs, displaced by (B, L, 3), is of something that spans them: 0…1."""
        outwards = (displacement * self.normals).sum(-1, keepdim=True) * self.normals
        along_m = (displacement - outwards).norm(dim=-1) @ self.to_rows
        rows = ((along_m - _ALONG_M[0]) / (_ALONG_M[1] - _ALONG_M[0])).clamp(0, 1)
        # What spans the legs does so from the hips down.
        worn = (displacement.norm(dim=-1) / _WORN_M).clamp(max=1)
        spans: Tensor = worn * (rows.flip(1).cummax(1).values.flip(1) @ self.from_rows)
        return spans
