"""The chart of faces that ships is the one that its program makes."""

import numpy as np

from common.body.model import BodyModel
from common.texture.face_picture import FaceChart
from sender.texture.face_placing import load_face_placing
from sender.train.face_chart import chart


def test_the_chart_that_ships_is_made_of_the_body() -> None:
    body, shipped = BodyModel.load(), FaceChart.load()
    made = chart(body, load_face_placing(body))
    np.testing.assert_allclose(made.landmarks, shipped.landmarks, atol=1e-5)
    np.testing.assert_array_equal(made.vertices, shipped.vertices)
    np.testing.assert_allclose(made.places, shipped.places, atol=1e-4)
    np.testing.assert_allclose(made.opacity, shipped.opacity, atol=1e-3)
    np.testing.assert_allclose(made.follows, shipped.follows, atol=1e-3)
