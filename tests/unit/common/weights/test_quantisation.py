"""Matrices in 8 bits: what is quantised, and by how much."""

import torch

from common.weights.quantisation import SCALE, dequantised, quantised

MATRIX = torch.randn(64, 80) * torch.logspace(-6, 2, 64)[:, None]
KERNEL = torch.cat([torch.randn(31, 16, 3, 3), torch.zeros(1, 16, 3, 3)])


def test_error_of_each_channel_is_at_most_half_a_step() -> None:
    outlier = MATRIX.clone()
    outlier[3, 7] *= 1000
    for tensor in (MATRIX, KERNEL, outlier):
        stored = quantised({"weight": tensor})
        assert stored["weight"].dtype == torch.int8
        error = (dequantised(stored)["weight"] - tensor).abs()
        assert (error <= 0.5001 * stored["weight" + SCALE]).all()
        deviation = tensor.flatten(1).square().mean(1).sqrt()
        assert (error.flatten(1).square().mean(1).sqrt() <= deviation / 60).all() or tensor is outlier


def test_vectors_small_matrices_and_integers_are_not_quantised() -> None:
    tensors = {
        "bias": torch.randn(5000),
        "small": torch.randn(8, 8),
        "deviations": torch.rand(256, 24),
        "table": torch.arange(10_000).reshape(100, 100),
    }
    stored = quantised(tensors)
    assert stored.keys() == tensors.keys()
    assert {stored[name].dtype for name in ("bias", "small", "deviations")} == {torch.float16}
    assert torch.equal(stored["table"], tensors["table"])
