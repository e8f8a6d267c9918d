import numpy as np

from common.codec.tables import (
    LEVELS,
    STEP_MULTIPLIER,
    quantise,
    steps,
)
from common.labels import GROUPS, LABEL_SIZE


def test_steps_grow_by_thirds_of_an_octave() -> None:
    ratios = np.array(STEP_MULTIPLIER) / 256
    np.testing.assert_allclose(ratios, 2.0 ** (np.arange(LEVELS) / 3), rtol=2e-3)
    assert (steps(np.ones(LABEL_SIZE, dtype=np.int64), np.zeros(len(GROUPS), dtype=np.int64)) == 1).all()


def test_quantisation_error_is_at_most_half_a_step() -> None:
    residual = np.random.default_rng(0).integers(-1_000_000, 1_000_000, 10_000)
    for step in (1, 2, 777, 65_536):
        error = residual - quantise(residual, np.full_like(residual, step)) * step
        assert 2 * np.abs(error).max() <= step
