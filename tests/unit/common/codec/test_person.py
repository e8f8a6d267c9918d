import numpy as np

from common.arrays import IntArray
from common.codec.person import LAMBDA, Candidates
from common.codec.range_coder import table_symbols
from common.codec.tables import SCALES, load, quantise


def choose_indices(scale: IntArray, shift: IntArray, residual: IntArray, step: IntArray) -> IntArray:
    """In two parts, as groups are coded."""
    candidates, middle = Candidates.of_residuals(residual, step, shift), len(scale) // 2
    parts = (slice(0, middle), slice(middle, len(scale)))
    return np.concatenate([candidates.cheapest(load(), scale[part], part) for part in parts])


def test_choice_costs_no_more_than_the_nearest_index() -> None:
    rng, tables = np.random.default_rng(0), load()
    scale, step = rng.integers(0, SCALES, 2000), rng.integers(50, 5000, 2000)
    residual = np.rint(rng.laplace(size=2000) * step).astype(np.int64)
    shift = np.zeros(2000, dtype=np.int64)
    chosen, nearest = choose_indices(scale, shift, residual, step), quantise(residual, step)

    def cost(indices: np.ndarray) -> np.ndarray:
        error = (residual - indices * step) / step
        return error**2 + LAMBDA * tables.cost_bits[scale, table_symbols(indices, shift)]

    assert (cost(chosen) <= cost(nearest) + 1e-9).all()
    assert (np.abs(chosen) <= np.abs(nearest)).all()
    assert np.abs(chosen).sum() < np.abs(nearest).sum()
