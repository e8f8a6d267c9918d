"""COCO keypoints straight from the skeleton, exact, without skinning a mesh.

A keypoint is Σ_v r_kv · vertex_v, and a skinned vertex is Σ_b w_vb · (R_b (rest_v − J_b) + p_b).  Exchanging the sums
leaves, per keypoint and bone, one weight and one rest position that is linear in the shape: 17 × 52 small products in
place of 13,718 vertices, cheap enough for every training step.

Shapes: B people, K = 17 keypoints, S = 52 bones, C = 11 rows of the shape space (mean, then ten directions).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.model import BodyModel, BodyParameters


class KeypointKinematics(nn.Module):
    """Keypoints of posed bodies, differentiable.

    Args:
        body: the body model whose skeleton and regressor it condenses.
    """

    keypoint_weights: Tensor
    keypoint_rest: Tensor

    def __init__(self, body: BodyModel) -> None:
        super().__init__()
        self.body = body
        # (K, V) · (V, S): what share of each keypoint follows each bone, and where that share rests.
        rest_CVD = body.rest_vertices.reshape(-1, body.weights.shape[0], 3)
        self.register_buffer("keypoint_weights", body.regressor @ body.weights, persistent=False)
        rest = torch.stack([torch.einsum("kv,vd,vs->ksd", body.regressor, rows, body.weights) for rows in rest_CVD])
        self.register_buffer("keypoint_rest", rest, persistent=False)

    def forward(self, parameters: BodyParameters) -> tuple[Tensor, Tensor]:
        """Keypoints (B, 17, 3) and bone heads (B, 52, 3) in camera space, metres."""
        positions, rotations = self.body.forward_kinematics(parameters)
        rows = functional.pad(parameters.shape, (1, 0), value=1.0)
        rest_BKSD = torch.einsum("bc,cksd->bksd", rows, self.keypoint_rest)
        joints_BSD = self.body.rest_joints_of(parameters.shape)
        offset = rest_BKSD - self.keypoint_weights[None, :, :, None] * joints_BSD[:, None]
        turned = torch.einsum("bsij,bksj->bki", rotations, offset)
        return turned + torch.einsum("ks,bsd->bkd", self.keypoint_weights, positions), positions
