import numpy as np
import pytest

from common.body.model import BodyModel
from common.synthetic.assets.appearance import Appearance
from common.synthetic.renderer import Renderer
from common.texture.atlas import AtlasLayout
from sender.texture.atlas import AtlasCamera
from tests.support.pictures.synthetic_observation import RenderedPerson, render_person


@pytest.fixture(scope="package")
def atlas_camera(model: BodyModel) -> AtlasCamera:
    return AtlasCamera(AtlasLayout.from_body(model), model.faces.numpy(), model.vertex_region.numpy())


@pytest.fixture(scope="package")
def layout(atlas_camera: AtlasCamera) -> AtlasLayout:
    return atlas_camera.layout


@pytest.fixture(scope="package")
def front(renderer: Renderer, model: BodyModel, appearance: Appearance) -> RenderedPerson:
    return render_person(renderer, model, appearance)


@pytest.fixture(scope="package")
def back(renderer: Renderer, model: BodyModel, appearance: Appearance) -> RenderedPerson:
    return render_person(renderer, model, appearance, np.pi)
