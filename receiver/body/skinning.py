"""The displaced template: one closed mesh with clothes and hair, bound to its skeleton."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import SKELETON
from common.body.model import BodyModel, BodyOutput, BodyParameters
from common.body.template import BodyTemplate
from common.weights.devices import to_numpy
from receiver.body.spanning import Clothes, LegSpan
from receiver.mesh.skinned_glb import PosedBody, Reweighted, Skeleton, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import Paint


@dataclass(frozen=True, slots=True)
class PosedTemplates(BodyOutput):
    """Posed templates of B people; `reweighted`: of each, what is not skinned as all bodies are."""

    reweighted: tuple[Reweighted | None, ...]


@dataclass(frozen=True, eq=False)
class BodySkin:
    """How all published bodies are posed."""

    model: BodyModel
    template: BodyTemplate
    skeleton: Skeleton
    span: LegSpan

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """Extracts template and skeleton of a body model."""
        template = BodyTemplate.from_model(model)
        skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), template.weights)
        return cls(model, template, skeleton, LegSpan(model, template))

    def templates(self, parameters: BodyParameters, worn: Sequence[Clothes] | None = None) -> PosedTemplates:
        """(B, V', 3) templates in camera space, in what each person wears, or bare."""
        displacement = None if worn is None else torch.stack([each.displacement for each in worn])
        output = self.template.posed(self.model, parameters, displacement)
        vertices = output.vertices if worn is None else self.span(parameters, worn, output)
        reweighted = (None,) * len(vertices) if worn is None else tuple(each.reweighted for each in worn)
        return PosedTemplates(vertices, output.joint_positions, output.joint_rotations, reweighted)

    def skeleton_with(self, influences: int) -> Skeleton:
        """The skeleton with as many weights of each vertex as `influences`, a multiple of 4."""
        return skeleton_from_dense(SKELETON, np.array(self.model.parents), self.template.weights, influences)

    def pose(
        self,
        output: PosedTemplates,
        index: int = 0,
        region_colours: FloatArray | None = None,
        paint: Paint | None = None,
        face: FaceDetail | None = None,
    ) -> PosedBody:
        """Selects one body of a batch and colours it.

        Args:
            region_colours: (R, 3) RGB 0…1 of the body's regions; ignored if `paint` is given.
            paint: of the person, from a texture atlas.
            face: draws a face unless `paint` is given, which has one.
        """
        colours = None
        if paint is not None:
            colours = paint.vertices
        elif region_colours is not None:
            colours = _to_bytes(region_colours)[self.template.region]
        if colours is not None and paint is None and face is not None:
            colours = face.on_vertices(colours)
        return PosedBody(
            SurfaceMesh(to_numpy(output.vertices[index]), self.template.faces, colours),
            to_numpy(output.joint_positions[index]),
            to_numpy(output.joint_rotations[index]),
            paint.texture if paint is not None else None,
            output.reweighted[index],
        )


def _to_bytes(colours: FloatArray) -> ByteArray:
    """RGB 0…1 → 0…255."""
    return np.round(np.clip(colours, 0.0, 1.0) * 255.0).astype(np.uint8)
