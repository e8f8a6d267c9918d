import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.arrays import IntArray
from common.codec.person import LAMBDA, Candidates, residual_of, rotated, rotation_of
from common.codec.range_coder import table_symbols
from common.codec.tables import SCALES, UNIT, load, quantise

ENTRY = st.integers(-(1 << 21), 1 << 21)
ENTRIES = st.lists(ENTRY, min_size=6, max_size=6)


def matrix(entries: list[int]) -> np.ndarray:
    """(3, 3) the rotation of six entries."""
    return np.array(rotation_of(entries)).T


@settings(max_examples=300, deadline=None)
@given(entries=ENTRIES)
def test_any_entries_give_a_rotation(entries: list[int]) -> None:
    rotation = matrix(entries)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    for without_direction in ([0] * 6, [UNIT, 0, 0, UNIT, 0, 0]):
        np.testing.assert_array_equal(matrix(without_direction), np.eye(3))


@settings(max_examples=300, deadline=None)
@given(first=ENTRIES, second=ENTRIES)
def test_residual_leads_from_the_prediction_to_the_orientation(first: list[int], second: list[int]) -> None:
    predicted, wanted = rotation_of(first), rotation_of(second)
    residual = [round(value) for value in residual_of(predicted, wanted)]
    np.testing.assert_allclose(np.array(rotated(predicted, residual)), np.array(wanted), atol=1e-4)


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
