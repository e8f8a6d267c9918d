"""What the mixture of outfits learns from few outfits and from many."""

import numpy as np

from receiver.train.mixture import components, fitted


def outfits(kind: str, ends: list[float]) -> list[tuple[dict[str, frozenset[str]], dict[str, float]]]:
    return [({"sleeve": frozenset({kind})}, {"sleeve_end": end, "flare_m": 0.0}) for end in ends]


def test_many_outfits_outweigh_the_prior() -> None:
    rows = np.random.default_rng(0).normal([2.0, -1.0], [0.5, 0.1], (2000, 2))
    mean, spread = fitted(rows, np.zeros(2), np.eye(2))
    assert np.allclose(mean, [2, -1], atol=0.05) and np.allclose(np.sqrt(np.diag(spread)), [0.5, 0.1], rtol=0.3)


def test_without_outfits_the_prior_remains() -> None:
    mean, spread = fitted(np.zeros((0, 2)), np.array([1.0, 2.0]), 3 * np.eye(2))
    assert np.array_equal(mean, [1, 2]) and np.allclose(spread, 3 * np.eye(2))


def test_rare_kinds_stay_near_the_others() -> None:
    rng = np.random.default_rng(1)
    long, short = rng.normal(1.7, 0.05, 200).tolist(), rng.normal(0.6, 0.05, 200).tolist()
    found = components("sleeve", outfits("long", long) + outfits("short", short) + outfits("bare", [0.0]))
    assert abs(found["long"]["mean"][0] - 1.7) < 0.05 and abs(found["short"]["mean"][0] - 0.6) < 0.05
    assert 0.1 < found["bare"]["mean"][0] < 1.2, "one outfit does not decide"
    assert found["sleeveless"]["mean"][0] == found["sleeveless"]["mean"][0], "a kind without outfits has a component"
    assert 0.02 < found["long"]["factor"][0][0] < 0.12


def test_outfits_of_uncertain_kind_count_where_no_others_are() -> None:
    unsure = [({"sleeve": frozenset({"long", "bare"})}, {"sleeve_end": 1.0, "flare_m": 0.0})] * 50
    found = components("sleeve", outfits("long", [1.7] * 50) + unsure)
    assert abs(found["long"]["mean"][0] - 1.7) < 0.05 and abs(found["bare"]["mean"][0] - 1.0) < 0.05
