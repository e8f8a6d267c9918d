"""The measures of generated outfits."""

import numpy as np
import pytest

from common.wear_kinds import VALUES
from tests.bench.outfit_looks import frechet
from tests.bench.outfits import end_of_cloth, same_length
from tests.bench.worn_kinds import softened


@pytest.mark.parametrize("end_m", [0.0, 0.21, 0.5])
def test_cloth_ends_where_the_surface_comes_back_to_the_skin(end_m: float) -> None:
    along = np.linspace(-0.1, 0.6, 2000).astype(np.float32)
    change = np.where((along < end_m)[:, None], [[0.01, 0, 0]], [[0.001, 0, 0]])
    change[::7] = 0.02, 0, 0
    assert end_of_cloth(along, change.astype(np.float32)) == pytest.approx(end_m, abs=0.02)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [(-np.inf, -np.inf, True), (-np.inf, -0.1, False), (-0.07, -0.055, True), (-0.1, 0.0, False), (0.2, 0.5, True)],
)
def test_hair_has_the_same_length_by_class(first: float, second: float, same: bool) -> None:
    assert same_length(first, second) == same == same_length(second, first)


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (20000, 3)), rng.normal([3, 0, 0], [1, 2, 1], (20000, 3))
    assert frechet(one, one) == pytest.approx(0, abs=1e-3)
    assert frechet(one, other) == pytest.approx(9 + 1, abs=0.3)


def test_softened_kinds_are_likeliest() -> None:
    kinds = {name: values[-1] for name, values in VALUES.items()}
    assert {name: value for name, (value, _) in softened(kinds).likeliest().items()} == kinds
