from dataclasses import dataclass

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.model import BodyModel, BodyParameters
from common.synthetic.assets.garments import Canvas, PosedSkeleton
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.renderer import Renderer


@dataclass(frozen=True, eq=False)
class Atelier:
    """Body, renderer and wardrobe, and a person of mean shape in the rest pose three metres before the camera."""

    model: BodyModel
    renderer: Renderer
    wardrobe: Wardrobe
    parameters: BodyParameters
    vertices: FloatArray
    skeleton: PosedSkeleton


@pytest.fixture(scope="package")
def atelier() -> Atelier:
    model = BodyModel.load()
    canvas = Canvas.from_model(model)
    parameters = BodyParameters.rest()
    with torch.no_grad():
        posed = model(parameters)
        rest = model.rest_joints_of(parameters.shape)[0].numpy()
    positions, rotations = posed.joint_positions[0].numpy(), posed.joint_rotations[0].numpy()
    skeleton = PosedSkeleton(np.zeros(10, np.float32), rest, positions, rotations)
    vertices = posed.vertices[0].numpy()
    return Atelier(model, Renderer(canvas), Wardrobe.load(canvas), parameters, vertices, skeleton)
