import numpy as np

from common.codec.person import LAMBDA, choose_indices
from common.codec.quantiser import quantise
from common.codec.range_coder import table_symbols
from common.codec.tables import SCALES, load


def test_choice_costs_no_more_than_the_nearest_index() -> None:
    rng, tables = np.random.default_rng(0), load()
    scale, step = rng.integers(0, SCALES, 2000), rng.integers(50, 5000, 2000)
    residual = np.rint(rng.laplace(size=2000) * step).astype(np.int64)
    shift = np.zeros(2000, dtype=np.int64)
    chosen, nearest = choose_indices(tables, scale, shift, residual, step), quantise(residual, step)

    def cost(indices: np.ndarray) -> np.ndarray:
        error = (residual - indices * step) / step
        return error**2 + LAMBDA * tables.cost_bits[scale, table_symbols(indices, shift)]

    assert (cost(chosen) <= cost(nearest) + 1e-9).all()
    assert (np.abs(chosen) <= np.abs(nearest)).all()
    assert np.abs(chosen).sum() < np.abs(nearest).sum()


def test_residuals_with_low_bits_are_exact_to_half_a_step() -> None:
    tables, residual, step = load(), np.array([123_456, -98_765]), np.array([10, 10])
    chosen = choose_indices(tables, np.array([60, 60]), np.array([8, 8]), residual, step)
    assert np.abs(residual - chosen * step).max() <= 5
