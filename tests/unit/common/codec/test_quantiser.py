import numpy as np

from common.codec.quantiser import (
    LEVELS,
    STEP_MULTIPLIER,
    UNIT,
    from_fixed,
    quantise,
    steps,
    to_fixed,
    vector_of,
)
from common.labels import GROUP_BY_NAME, GROUPS, LABEL_SIZE


def test_steps_grow_by_thirds_of_an_octave() -> None:
    ratios = np.array(STEP_MULTIPLIER) / 256
    np.testing.assert_allclose(ratios, 2.0 ** (np.arange(LEVELS) / 3), rtol=2e-3)
    assert (steps(np.ones(LABEL_SIZE, dtype=np.int64), np.zeros(len(GROUPS), dtype=np.int64)) == 1).all()


def test_quantisation_error_is_at_most_half_a_step() -> None:
    residual = np.random.default_rng(0).integers(-1_000_000, 1_000_000, 10_000)
    for step in (1, 2, 777, 65_536):
        error = residual - quantise(residual, np.full_like(residual, step)) * step
        assert 2 * np.abs(error).max() <= step


def test_fixed_point_round_trip() -> None:
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    assert np.abs(from_fixed(to_fixed(values)) - values).max() <= 0.5 / UNIT + 1e-7


def test_vector_of_places_prefixes() -> None:
    fixed, present = vector_of({"head": np.ones(2, dtype=np.float32)})
    head = next(i for i, group in enumerate(GROUPS) if group is GROUP_BY_NAME["head"])
    assert fixed.sum() == 2 * UNIT
    assert present[head] and present.sum() == 1
