import numpy as np

from common.body.anatomy import POINTS
from common.body.model import BodyModel
from common.body.point_order import halved, point_order


def test_every_point_stands_once_and_within_its_token() -> None:
    order = point_order()
    np.testing.assert_array_equal(np.sort(order), np.arange(POINTS))
    np.testing.assert_array_equal(order // 16, np.arange(POINTS) // 16)


def test_neighbours_along_the_curve_are_neighbours_on_the_body() -> None:
    body = BodyModel.load()
    points = body.surface_points(body.rest_vertices[:1])[0][0].numpy()

    def apart(places: np.ndarray) -> float:
        return float(np.linalg.norm(places[0::2] - places[1::2], axis=1).mean())

    assert apart(points[point_order()]) < 0.04 < apart(points)


def test_halved_follows_the_longest_side() -> None:
    places = np.array([[30, 0, 0], [0, 1, 0], [31, 1, 0], [0, 0, 0]])
    assert halved(places).tolist() == [3, 1, 0, 2]
