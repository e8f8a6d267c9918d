"""Bodies of the body model whose faces move, as they are published."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import FACIAL_ACTIONS
from common.body.model import BodyParameters, axis_angle_to_matrix
from receiver.export.rigging import load_body_skin
from receiver.mesh.skinned_glb import PosedBody, encode_body
from tests.support.meshes.posed_templates import pose, templates


def activations(actions: Mapping[str, float]) -> Tensor:
    """(1, 52) of the named facial actions; the others are 0."""
    row = torch.zeros(1, len(FACIAL_ACTIONS))
    for name, activation in actions.items():
        row[0, FACIAL_ACTIONS.index(name)] = activation
    return row


def expressive_body(actions: Mapping[str, float], turned_rad: float = 0.4) -> PosedBody:
    """A body with an expression, and with its head turned; without any action its face is neutral."""
    _, skin = load_body_skin()
    parameters = BodyParameters.rest()
    parameters.rotations[0, 7] = axis_angle_to_matrix(torch.tensor([0.1, turned_rad, 0.0]))
    faces = activations(actions) if actions else None
    with torch.no_grad():
        body = pose(skin, templates(skin, parameters, activations=faces), 0, np.full((16, 3), 0.5, np.float32))
    if faces is None:
        return body
    return PosedBody(body.mesh, body.joint_positions, body.joint_rotations, activations=faces[0].numpy())


def write_bodies(folder: Path, expressions: Sequence[Mapping[str, float]]) -> list[Path]:
    """Files of bodies with expressions, in frames of a session."""
    paths = [folder / f"{number:06d}.body.glb" for number in range(len(expressions))]
    for number, (path, actions) in enumerate(zip(paths, expressions, strict=True)):
        path.write_bytes(encode_body(expressive_body(actions, 0.2 * number), load_body_skin()[1].skeleton))
    return paths
