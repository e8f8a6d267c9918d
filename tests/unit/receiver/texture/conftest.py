"""The body, its template and its atlas."""

import pytest

from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def template(body: BodyModel) -> BodyTemplate:
    return BodyTemplate.from_model(body)


@pytest.fixture(scope="module")
def layout(body: BodyModel) -> AtlasLayout:
    return AtlasLayout.from_body(body)
