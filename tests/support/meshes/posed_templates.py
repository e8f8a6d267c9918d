"""Templates that are posed as a body model poses them, without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from common.arrays import FloatArray
from common.body.model import BodyOutput, BodyParameters
from common.weights.devices import to_numpy
from receiver.body.skinning import BodySkin, Clothes, stacked
from receiver.mesh.skinned_glb import PosedBody, Reweighted
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.texture.painting import Paint


@dataclass(frozen=True, slots=True)
class PosedTemplates(BodyOutput):
    """Posed templates of B people; `reweighted`: of each, what is not skinned as all bodies are."""

    reweighted: tuple[Reweighted | None, ...]


def templates(
    skin: BodySkin,
    parameters: BodyParameters,
    worn: Sequence[Clothes] | None = None,
    activations: Tensor | None = None,
) -> PosedTemplates:
    """(B, V', 3) templates in camera space, in what each person wears, or bare, with faces (B, 52), or neutral ones."""
    worn = worn or [skin.bare] * len(parameters)
    positions, rotations = skin.model.forward_kinematics(parameters)
    activations = parameters.shape[:, :0] if activations is None else activations
    vertices = skin.skinning(parameters.shape, positions, rotations, *stacked(worn), activations)
    return PosedTemplates(vertices, positions, rotations, tuple(each.reweighted for each in worn))


def pose(
    skin: BodySkin,
    output: PosedTemplates,
    index: int = 0,
    region_colours: FloatArray | None = None,
    paint: Paint | None = None,
) -> PosedBody:
    """One body of a batch in the colours of its regions (R, 3), RGB 0…1, or in its paint."""
    colours = None if region_colours is None else skin.coloured(region_colours)
    vertices = to_numpy(output.vertices[index])
    return PosedBody(
        SurfaceMesh(vertices, skin.template.faces, colours if paint is None else paint.vertices),
        to_numpy(output.joint_positions[index]),
        to_numpy(output.joint_rotations[index]),
        None if paint is None else paint.texture,
        output.reweighted[index],
    )
