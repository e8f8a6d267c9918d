"""Charts of an estimated atlas are joined where they meet on the body."""

import numpy as np
import pytest

from common.arrays import FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel, BodyParameters
from common.texture.atlas import AtlasLayout
from receiver.texture.atlas_completion import CoarseLayout
from receiver.texture.chart_joining import ChartJoiner, cuts_of

SCALE = 4
SIDE = ATLAS_SIZE // SCALE
NOTHING = np.zeros((6, 8), np.bool_)
GREY = np.full((6, 8, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def joiner(layout: AtlasLayout) -> ChartJoiner:
    return ChartJoiner(CoarseLayout.from_layout(layout).skin, cuts_of(layout, SCALE))


@pytest.fixture(scope="module")
def texel(layout: AtlasLayout) -> IntArray:
    """(T,) the small texel that each texel lies in."""
    return layout.squares(SCALE)


def two_charts() -> ChartJoiner:
    """Columns 0 to 2 and 5 to 7 of six rows; column 2 meets column 5."""
    skin = np.zeros((6, 8), np.bool_)
    skin[:, :3] = skin[:, 5:] = True
    return ChartJoiner(skin, np.array([[8 * row + 2, 8 * row + 5] for row in range(6)]))


def step() -> FloatArray:
    """50 in the first chart, 90 in the second."""
    estimate = np.full((6, 8, 3), 50, np.float32)
    estimate[:, 5:] = 90
    return estimate


def test_charts_meet_in_the_middle() -> None:
    found = two_charts().joined(step(), GREY, NOTHING)[..., 0]
    across = found[:, 5] - found[:, 2]
    assert np.all((across > 0) & (across < 20))
    np.testing.assert_allclose(found[:, :3] + found[:, 7:4:-1], 140, atol=1e-3)
    assert np.all(np.diff(found[0, [0, 1, 2, 5, 6, 7]]) > 0)
    np.testing.assert_array_equal(found[:, 3:5], 50)


def test_edges_of_clothes_remain() -> None:
    """A step of 200 is one of the person's, not one of the network's."""
    edge = step()
    edge[:, 5:] = 250
    found = two_charts().joined(edge, GREY, NOTHING)[..., 0]
    assert np.all(found[:, 5] - found[:, 2] > 110)


def test_known_colours_lead() -> None:
    known = np.zeros((6, 8), np.bool_)
    known[:, :3] = True
    colours = np.full((6, 8, 3), 50, np.uint8)
    found = two_charts().joined(step(), colours, known)[..., 0]
    free = two_charts().joined(step(), colours, NOTHING)[..., 0]
    assert np.all(np.abs(found[:, :3] - 50) < np.abs(free[:, :3] - 50))


def test_gradients_of_the_estimate_remain() -> None:
    ramp = step()
    ramp[:, :3] += np.array([0, 20, 40])[:, None]
    smooth = two_charts().joined(step(), GREY, NOTHING)
    # Column 2 meets column 5 at 90 now: no step is left to join.
    found = two_charts().joined(ramp, GREY, NOTHING)
    np.testing.assert_allclose(found, ramp, atol=1e-3)
    assert np.abs(smooth - step()).max() > 10


def test_cuts_join_what_is_near_on_the_body(layout: AtlasLayout, body: BodyModel, texel: IntArray) -> None:
    cuts = cuts_of(layout, SCALE)
    rest = body(BodyParameters.rest()).vertices[0].numpy()
    place = np.full((SIDE * SIDE, 3), np.nan)
    place[texel] = np.einsum("tcd,tc->td", rest[layout.corners], layout.barycentric)
    apart = np.linalg.norm(place[cuts[:, 0]] - place[cuts[:, 1]], axis=1)
    assert len(cuts) > 200
    assert np.isfinite(apart).all() and np.quantile(apart, 0.99) < 0.06


def test_steps_at_cuts_of_the_body_are_joined(layout: AtlasLayout, joiner: ChartJoiner) -> None:
    """Squares of the atlas that differ a little: neighbours across cuts differ much less afterwards."""
    cuts = cuts_of(layout, SCALE)
    rng = np.random.default_rng(1)
    squares = rng.uniform(110, 140, (4, 4, 3)).astype(np.float32)
    estimate = squares.repeat(SIDE // 4, axis=0).repeat(SIDE // 4, axis=1)
    unknown = np.zeros((SIDE, SIDE), np.bool_)
    found = joiner.joined(estimate, np.zeros((SIDE, SIDE, 3), np.uint8), unknown)
    before, after = (
        np.abs(np.subtract(*image.reshape(-1, 3)[cuts].transpose(1, 0, 2))).mean() for image in (estimate, found)
    )
    assert after < 0.4 * before
