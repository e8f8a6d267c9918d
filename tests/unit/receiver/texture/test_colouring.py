import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import POINTS, REGION_INDEX, REGIONS
from common.body.model import BodyModel
from common.texture.point_colours import PointColours
from receiver.texture.colouring import Colouring, inverse_distance_weights, rest_oriented_points

GREY = np.full((len(REGIONS), 3), 0.5, np.float32)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def colouring(body: BodyModel) -> Colouring:
    return Colouring(body)


def observe(seen: np.ndarray, colour: tuple[int, int, int] = RED) -> PointColours:
    return PointColours(np.where(seen[:, None], colour, 0).astype(np.uint8), seen)


def in_region(body: BodyModel, *names: str) -> np.ndarray:
    return np.isin(body.point_regions().numpy(), [REGION_INDEX[name] for name in names])


def test_observed_points_keep_their_colour(colouring: Colouring) -> None:
    rng = np.random.default_rng(0)
    seen = rng.random(POINTS) < 0.4
    own = PointColours(rng.integers(0, 256, (POINTS, 3)).astype(np.uint8) * seen[:, None], seen)
    colours = colouring.colours(own, GREY)
    assert colours.shape == (POINTS, 3) and colours.dtype == np.float32
    np.testing.assert_allclose(colours[seen], own.colours[seen] / 255, atol=1e-6)
    assert colours.min() >= 0 and colours.max() <= 1 + 1e-6


def test_region_colours_without_observed_points(colouring: Colouring, body: BodyModel) -> None:
    regions = np.random.default_rng(0).random((len(REGIONS), 3)).astype(np.float32)
    colours = colouring.colours(observe(np.zeros(POINTS, np.bool_)), regions)
    np.testing.assert_allclose(colours, regions[body.point_regions().numpy()])


def test_unobserved_arm_takes_the_colours_of_the_other(colouring: Colouring, body: BodyModel) -> None:
    colours = colouring.colours(observe(in_region(body, "forearm.L")), GREY)
    assert (colours[in_region(body, "forearm.R")] == [1, 0, 0]).all(axis=1).mean() > 0.9


def test_colours_blend_into_the_region_with_distance(colouring: Colouring, body: BodyModel) -> None:
    seen = in_region(body, "chest")
    colours = colouring.colours(observe(seen, BLUE), GREY)
    points = body.surface_points(body.rest_vertices[:1])[0][0].numpy()
    from_chest = np.linalg.norm(points[:, None] - points[seen][None], axis=2).min(axis=1)
    np.testing.assert_allclose(colours[from_chest > 0.3], 0.5, atol=1e-3)
    between = ~seen & (from_chest < 0.04)
    assert 0.02 < float(np.abs(colours[between] - [0, 0, 1]).mean()) < 0.45


def test_colours_do_not_pass_through_a_limb(colouring: Colouring, body: BodyModel) -> None:
    """A shin is thinner than the blend length; colours spread around it, not through it."""
    points, normals = (side[0].numpy() for side in body.surface_points(body.rest_vertices[:1]))
    region = in_region(body, "shin.L", "shin.R")
    front, back = region & (normals[:, 2] < -0.3), region & (normals[:, 2] > 0.8)
    colours = colouring.colours(observe(front), GREY)
    assert np.abs(colours[back] - 0.5).mean() < 0.15
    assert np.ptp(points[region, 2]) < 0.25


def test_single_observed_point(colouring: Colouring) -> None:
    seen = np.arange(POINTS) == 5
    colours = colouring.colours(observe(seen), GREY)
    np.testing.assert_allclose(colours[5], [1, 0, 0])
    assert np.isfinite(colours).all() and (colours == 0.5).all(axis=1).mean() > 0.9


def test_blend_is_computed_once_per_set_of_colours(body: BodyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Colouring] = []
    interpolate = Colouring._interpolate

    def counted(self: Colouring, colours: FloatArray, known: np.ndarray) -> tuple[FloatArray, FloatArray]:
        calls.append(self)
        return interpolate(self, colours, known)

    monkeypatch.setattr(Colouring, "_interpolate", counted)
    colouring = Colouring(body)
    first, second = (observe(in_region(body, name)) for name in ("chest", "hips"))
    for _ in range(10):
        colouring.colours(first, GREY)
        colouring.colours(second, GREY)
    assert len(calls) == 2


def test_rest_oriented_points_have_scaled_normals(body: BodyModel) -> None:
    places = rest_oriented_points(body)
    assert places.shape == (POINTS, 6)
    np.testing.assert_allclose(np.linalg.norm(places[:, 3:], axis=1), 0.06, rtol=1e-4)


def test_inverse_distance_weights_favour_the_nearest() -> None:
    weights = inverse_distance_weights(np.array([[0.0, 0.02, 0.1], [0.1, 0.1, 0.1]]))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights[0, 0] > 0.9 and np.allclose(weights[1], 1 / 3)
