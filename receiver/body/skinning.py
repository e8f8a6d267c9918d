"""The displaced template: one closed mesh with clothes, hair and an expression, bound to its skeleton."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import FACIAL_ACTIONS, SKELETON
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.weights.devices import device_of, to_numpy
from receiver.body.facial_motion import FacialMotion
from receiver.body.spanning import Clothes, LegSpan
from receiver.body.sparse_product import SparseProduct
from receiver.mesh.face_shapes import FaceShapes
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import Skeleton, largest_weights, skeleton_from_dense


class TemplateSkinning(nn.Module):
    """Linear blend skinning of templates in their clothes; L vertices of the legs may follow both (`LegSpan`).

    Args:
        face: moves the face, on the device of the model.
    """

    rest: Tensor
    rest_joints: Tensor
    legs: Tensor

    def __init__(self, model: BodyModel, template: BodyTemplate, span: LegSpan, face: FacialMotion) -> None:
        super().__init__()
        device = device_of(model)
        self.register_buffer("rest", model.rest_vertices[:, template.kept], persistent=False)
        self.register_buffer("rest_joints", model.rest_joints, persistent=False)
        self.register_buffer("legs", span.legs.to(device), persistent=False)
        self.face = face.to(device)
        self.weights = SparseProduct(template.weights).to(device)
        self.change = SparseProduct(to_numpy(span.change)).to(device)

    def forward(
        self,
        shape: Tensor,
        positions: Tensor,
        rotations: Tensor,
        displacement: Tensor,
        shares: Tensor,
        activations: Tensor,
    ) -> Tensor:
        """(B, V', 3) templates in camera space.

        Args:
            shape: (B, 10).
            positions, rotations: of the bones, as `BodyModel.forward_kinematics` has them.
            displacement: (B, V', 3) in the rest pose.
            shares: (B, L) how far the legs follow the other one; (B, 0) if none does.
            activations: (B, 52) of the facial actions, 0…1; (B, 0) if no face moves.
        """
        rows = F.pad(shape, (1, 0), value=1.0)
        joints = (rows @ self.rest_joints.flatten(1)).unflatten(1, (-1, 3))
        rest = (rows @ self.rest.flatten(1)).unflatten(1, (-1, 3)) + displacement
        rest = rest.transpose(0, 1)
        if activations.shape[1]:
            rest = rest.index_add(0, self.face.moved, self.face(activations).transpose(0, 1))
        offsets = positions - (rotations @ joints[..., None])[..., 0]
        # Columns of the rotation, then the translation: (S, 4, B, 3).
        transforms = torch.cat([rotations.permute(1, 3, 0, 2), offsets.transpose(0, 1)[:, None]], 1)
        vertices = _moved(self.weights(transforms), rest).transpose(0, 1)
        if shares.shape[1]:
            change = _moved(self.change(transforms), rest.index_select(0, self.legs))
            vertices = vertices.index_add(1, self.legs, shares[..., None] * change.transpose(0, 1))
        return vertices.contiguous()


def _moved(transforms: Tensor, points: Tensor) -> Tensor:
    """Points (N, B, 3) by transforms (N, 4, B, 3) of their own."""
    x, y, z, translation = transforms.unbind(1)
    moved = torch.addcmul(translation, x, points[..., :1])
    moved = torch.addcmul(moved, y, points[..., 1:2])
    return torch.addcmul(moved, z, points[..., 2:])


@dataclass(frozen=True, eq=False)
class BodySkin:
    """How all published bodies are posed."""

    model: BodyModel
    template: BodyTemplate
    skeleton: Skeleton
    span: LegSpan
    skinning: TemplateSkinning

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """Extracts template and skeleton of a body model."""
        template = BodyTemplate.from_model(model)
        span, face = LegSpan(template), FacialMotion(model, template)
        skinning = TemplateSkinning(model, template, span, face)
        actions = to_numpy(face.actions) * Y_UP
        shapes = FaceShapes.from_actions(FACIAL_ACTIONS, to_numpy(face.moved), actions)
        skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), template.weights)
        return cls(model, template, replace(skeleton, face=shapes), span, skinning)

    @property
    def bare(self) -> Clothes:
        """Nothing is worn."""
        return Clothes(torch.zeros(len(self.template), 3))

    def skeleton_with(self, influences: int) -> Skeleton:
        """The skeleton with as many weights of each vertex as `influences`, a multiple of 4."""
        joints, weights = largest_weights(self.template.weights, influences)
        return replace(self.skeleton, vertex_joints=joints, vertex_weights=weights)

    def coloured(self, region_colours: FloatArray) -> ByteArray:
        """(V', 3) the colours of the template's vertices by those of the regions (R, 3), RGB 0…1."""
        levels = np.round(np.clip(region_colours, 0.0, 1.0) * 255.0).astype(np.uint8)
        return np.asarray(levels[self.template.region], np.uint8)
