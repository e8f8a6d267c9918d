import numpy as np
import pytest

from common.body.model import BodyModel
from common.synthetic.assets.garments import Canvas, Garment, Kind, Tailoring, tailor
from common.synthetic.assets.wardrobe import Wardrobe


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return Wardrobe.load(Canvas.from_model(BodyModel.load()))


@pytest.fixture(scope="module")
def suit(wardrobe: Wardrobe) -> Garment:
    return next(item for item in wardrobe.garments[Kind.SUIT] if item.name == "male_casualsuit03")


def area(garment: Garment) -> float:
    a, b, c = (garment.rest[garment.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_rest_is_the_mean_body_after_alteration_and_the_default_changes_nothing(
    wardrobe: Wardrobe, suit: Garment
) -> None:
    assert tailor(suit, wardrobe.canvas, Tailoring()) is suit
    altered = tailor(suit, wardrobe.canvas, Tailoring(loose_m=0.02, sleeve_end=0.6, hem=0.1))
    np.testing.assert_allclose(altered.rest_vertices(np.zeros(10, np.float32)), altered.rest, atol=1e-5)


def test_loose_garment_is_larger(wardrobe: Wardrobe, suit: Garment) -> None:
    loose = tailor(suit, wardrobe.canvas, Tailoring(loose_m=0.02))
    assert area(loose) > 1.05 * area(suit)
    assert np.median(np.linalg.norm(loose.rest - suit.rest, axis=1)) == pytest.approx(0.02, abs=1e-3)


def test_cut_garment_ends_at_the_cut_with_the_original_vertices_first(wardrobe: Wardrobe, suit: Garment) -> None:
    short = tailor(suit, wardrobe.canvas, Tailoring(sleeve_end=0.6, leg_end=0.8))
    assert short.limb[np.unique(short.faces), :2].max(axis=0) == pytest.approx([0.6, 0.8], abs=1e-4)
    assert set(short.covered) < set(suit.covered), "skin beyond the cut is bare"
    np.testing.assert_array_equal(short.rest[: len(suit.rest)], suit.rest)
    assert short.removal is not None
    assert short.faces.max() < len(short.rest) == len(short.weights) == len(short.limb) == len(short.region)
    assert not (short.removal[short.faces[(short.faces < len(suit.rest)).all(1)]] > 0).any()


def test_top_and_bottom_make_up_the_suit(wardrobe: Wardrobe, suit: Garment) -> None:
    top = tailor(suit, wardrobe.canvas, Tailoring(hem=0.2))
    bottom = tailor(suit, wardrobe.canvas, Tailoring(waist=0.2))
    assert area(top) + area(bottom) == pytest.approx(area(suit), rel=0.01)
    assert min(area(top), area(bottom)) > 0.2 * area(suit)
