from dataclasses import replace

import numpy as np
import pytest

from common.arrays import IntArray
from common.codec.contact import code_contact, contact_of, number_of
from common.codec.person import LAMBDA, RESTING_FRAMES, Candidates, unknown_person
from common.codec.quantiser import quantise
from common.codec.range_coder import SymbolReader, SymbolWriter, table_symbols
from common.codec.tables import SCALES, load


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


def test_residuals_with_low_bits_are_exact_to_half_a_step() -> None:
    residual, step = np.array([123_456, -98_765]), np.array([10, 10])
    chosen = choose_indices(np.array([60, 60]), np.array([8, 8]), residual, step)
    assert np.abs(residual - chosen * step).max() <= 5


@pytest.mark.parametrize("frames", [0, RESTING_FRAMES - 1, RESTING_FRAMES])
@pytest.mark.parametrize("lag", [0, 1, 9])
def test_contact_costs_a_few_bits_where_it_changes_and_else_none(frames: int, lag: int) -> None:
    numbers = (0, 4, 5, 6, 7)
    for before, now in ((before, now) for before in numbers for now in numbers):
        state = replace(unknown_person(load()), contact=before, contact_frames=frames)
        writer = SymbolWriter(load())
        after = code_contact(writer, state, lag, now)
        read = code_contact(SymbolReader(load(), writer.finish()), state, lag, None)
        assert read.checksum(0) == after.checksum(0) and after.contact == now == number_of(contact_of(now))
        resting = 0.05 if frames == RESTING_FRAMES else 0.5
        assert writer.bits < resting if now == before else 3 < writer.bits <= 10
