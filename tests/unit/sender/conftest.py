import numpy as np
import pytest

from common.body.model import BodyModel
from common.synthetic.assets.appearance import Appearance, sample_appearance
from common.synthetic.assets.garments import Canvas
from common.synthetic.renderer import Renderer


@pytest.fixture(scope="session")
def model() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def renderer(model: BodyModel) -> Renderer:
    """Fails with an installation hint on a machine without OpenGL over EGL."""
    return Renderer(Canvas.from_model(model))


@pytest.fixture(scope="session")
def appearance() -> Appearance:
    """Smooth cloth on the skin, so that the body's own surface is visible."""
    painted = sample_appearance(np.random.default_rng(4))
    painted.finish[:, 2] = 0
    return painted
