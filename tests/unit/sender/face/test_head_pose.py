import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.model import BodyParameters, KeypointKinematics
from common.frames import Camera
from sender.face.head import FRONT, HeadPoseReader
from tests.support.pictures.shown_heads import shown_head

CAMERA = Camera(640, 480, 700.0)
PLACE = (0.05, -0.04, 0.7)


@pytest.fixture(scope="module")
def reader() -> HeadPoseReader:
    return HeadPoseReader.load()


@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_head_is_read_where_it_is(reader: HeadPoseReader, kinematics: KeypointKinematics, turned_deg: float) -> None:
    turn = Rotation.from_euler("y", turned_deg, degrees=True).as_matrix()
    keypoints = kinematics(BodyParameters.rest())[0][0, :5].numpy().astype(np.float64)
    head = reader(shown_head(CAMERA, PLACE, turn))
    found = head.in_camera(CAMERA)
    expected = (keypoints - keypoints[0]) @ turn.T
    # Landmarks are of a camera without perspective.
    np.testing.assert_allclose(found - found[0], expected, atol=0.012)
    assert found[:FRONT, 2].mean() == pytest.approx(PLACE[2], abs=0.03)
    seen = np.array([320, 240]) + 700 * found[:FRONT, :2] / found[:FRONT, 2:]
    np.testing.assert_allclose(seen, head.keypoints[:FRONT], atol=0.5)
