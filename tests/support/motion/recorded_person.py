"""Characters of the body model, as a recorded session gives them."""

from pathlib import Path

import torch
from torch import Tensor

from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from receiver.export.character import Character
from receiver.export.recorded_session import BodyAt
from receiver.export.rigging import LeftOut, rig
from receiver.mesh.skinned_glb import encode_body
from receiver.texture.painting import Paint
from tests.support.meshes.posed_templates import pose, templates

FRAMES = 3


def body_parameters() -> BodyParameters:
    """One person of random shape in three poses."""
    generator = torch.Generator().manual_seed(5)
    return BodyParameters(
        axis_angle_to_matrix(torch.randn(FRAMES, 22, 3, generator=generator) * 0.3),
        torch.rand(FRAMES, 4, generator=generator),
        (0.5 * torch.randn(1, 10, generator=generator)).expand(FRAMES, 10),
        torch.tensor([0.0, 0.1, 3.0]).expand(FRAMES, 3),
    )


def recorded_person(folder: Path, displacement: Tensor | None = None, paint: Paint | None = None) -> Character:
    """The character of `body_parameters`.

    Args:
        folder: where its bodies are written.
        displacement: (V', 3) of what the person wears, rest pose, camera axes, metres.
        paint: the person's colours.
    """
    skin = BodySkin.from_model(BodyModel.load())
    worn = None if displacement is None else [skin.span.clothes(displacement)] * FRAMES
    output = templates(skin, body_parameters(), worn)
    bodies = [BodyAt(0.1 * number, folder / f"{number:06d}.body.glb") for number in range(FRAMES)]
    for number, body in enumerate(bodies):
        body.path.write_bytes(encode_body(pose(skin, output, number, paint=paint), skin.skeleton))
    return rig(0, bodies, LeftOut())
