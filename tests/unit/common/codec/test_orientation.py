import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.person import residual_of, rotated, rotation_of
from common.codec.tables import UNIT

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
