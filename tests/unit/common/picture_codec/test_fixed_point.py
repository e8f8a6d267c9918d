"""Fixed point is exact: equal to integer arithmetic, whatever the order of a sum."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from common.picture_codec.fixed_point import ACTIVATION_BITS, BIAS_BITS, WEIGHT_BITS, FixedPointConv, leaky, to_grid
from common.picture_codec.network import HyperSynthesis


@pytest.fixture
def network() -> HyperSynthesis:
    torch.manual_seed(3)
    return HyperSynthesis(6, 16, 8).double().requires_grad_(False)


def hyper_latents(count: int = 2, reach: int = 9) -> Tensor:
    return torch.randint(-reach, reach + 1, (count, 6, 2, 3), generator=torch.Generator().manual_seed(1)).double()


def in_integers(network: HyperSynthesis, z: Tensor) -> Tensor:
    """The hyper synthesis of one picture (C, h, w) in Python's integers of any size; in units of 2^−ACTIVATION_BITS."""

    def convolved(layer: FixedPointConv, x: np.ndarray) -> np.ndarray:
        weight, bias = layer.on_grid()
        columns = functional.unfold(
            torch.from_numpy(x.astype(np.float64))[None], layer.kernel, padding=layer.kernel // 2
        )
        integers = columns[0].long().numpy().astype(object)
        weights = (weight.flatten(1) * 2**WEIGHT_BITS).long().numpy().astype(object)
        biases = (bias * 2**BIAS_BITS).long().numpy().astype(object)
        # In another order than a matrix product has.
        order = np.random.default_rng(0).permutation(len(integers))
        sums = weights[:, order] @ integers[order] + biases[:, None]
        rounded = (sums + (1 << WEIGHT_BITS >> 1)) // (1 << WEIGHT_BITS)
        return np.asarray(rounded).reshape(-1, *x.shape[1:])

    def shuffled(x: np.ndarray) -> np.ndarray:
        return functional.pixel_shuffle(torch.from_numpy(x.astype(np.int64)), 2).numpy().astype(object)

    def rectified(x: np.ndarray) -> np.ndarray:
        return np.where(x >= 0, x, (x + 4) // 8)

    x = z.long().numpy().astype(object) * (1 << ACTIVATION_BITS)
    x = rectified(convolved(network.second, shuffled(convolved(network.first, x))))
    x = rectified(convolved(network.fourth, shuffled(convolved(network.third, x))))
    return torch.from_numpy(convolved(network.last, x).astype(np.int64))


def test_float64_is_equal_to_integer_arithmetic(network: HyperSynthesis) -> None:
    z = hyper_latents()
    prediction = network(z)
    for row in range(len(z)):
        expected = in_integers(network, z[row])
        found = torch.cat([prediction.mean[row], prediction.log_scale[row]]) * 2**ACTIVATION_BITS
        assert torch.equal(found, expected.double())


def test_result_does_not_depend_on_threads_batch_and_order_of_channels(network: HyperSynthesis) -> None:
    z, threads = hyper_latents(5), torch.get_num_threads()
    whole = network(z)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            rows = [network(z[row : row + 1]) for row in range(len(z))]
            assert torch.equal(torch.cat([row.mean for row in rows]), whole.mean)
            assert torch.equal(torch.cat([row.log_scale for row in rows]), whole.log_scale)
    finally:
        torch.set_num_threads(threads)
    order = torch.randperm(z.shape[1], generator=torch.Generator().manual_seed(0))
    network.first.weight.data = network.first.weight.data[:, order]
    assert torch.equal(network(z[:, order]).mean, whole.mean)


def test_training_in_float32_computes_nearly_the_same(network: HyperSynthesis) -> None:
    exact = network(hyper_latents())
    fast = network.float()(hyper_latents().float())
    assert (fast.mean - exact.mean.float()).abs().max() < 0.1


def test_rounding_has_the_gradient_of_the_identity() -> None:
    x = torch.tensor([0.3, -0.26, 0.5], requires_grad=True)
    rounded = to_grid(x, 1)
    assert rounded.tolist() == [0.5, -0.5, 0.5]
    rounded.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1]


def test_activations_stay_on_the_grid_and_within_limits() -> None:
    layer = FixedPointConv(2, 3, 3).double()
    found = leaky(layer(torch.full((1, 2, 4, 4), 1e9, dtype=torch.float64)))
    assert torch.equal(found * 2**ACTIVATION_BITS, (found * 2**ACTIVATION_BITS).round()) and found.abs().max() <= 4096
