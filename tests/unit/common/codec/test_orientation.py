import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.orientation import angles_between, entries_of, residual_of, rotated, rotation_of
from common.codec.quantiser import UNIT
from common.labels import ROTATION_SCALE

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


@pytest.mark.parametrize("axis", range(3))
def test_small_residuals_are_angles_around_the_axes_of_the_body(axis: int) -> None:
    predicted = rotation_of([3, 1, 2, -1, 4, 1])
    residual = [round(0.01 / ROTATION_SCALE * UNIT) * (axis == other) for other in range(3)]
    turned = rotated(predicted, residual)
    relative = np.array(predicted) @ np.array(turned).T
    assert math.acos((np.trace(relative) - 1) / 2) == pytest.approx(0.01, rel=1e-3)
    errors = angles_between(entries_of(predicted), turned)
    assert errors[axis] == pytest.approx(residual[axis], rel=0.01)
    assert max(errors[other] for other in range(3) if other != axis) < 0.02 * residual[axis]
