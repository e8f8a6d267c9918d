import pytest

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load()


@pytest.fixture(scope="module")
def kinematics() -> KeypointKinematics:
    return KeypointKinematics(BodyModel.load())
