"""Conversions between rotation representations, at ordinary and at limiting angles."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from common.body.model import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)

angles = st.floats(-3.0, 3.0, width=32)


@given(st.tuples(angles, angles, angles))
def test_axis_angle_and_6d_round_trip(vector: tuple[float, float, float]) -> None:
    matrix = axis_angle_to_matrix(torch.tensor(vector))
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=2e-5, rtol=0)
    torch.testing.assert_close(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix, atol=2e-5, rtol=0)


def test_quarter_turn_about_y_takes_z_to_x() -> None:
    matrix = axis_angle_to_matrix(torch.tensor([0.0, torch.pi / 2, 0.0]))
    torch.testing.assert_close(matrix @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_zero_rotation_has_a_finite_gradient() -> None:
    vector = torch.zeros(3, requires_grad=True)
    axis_angle_to_matrix(vector).sum().backward()
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()
