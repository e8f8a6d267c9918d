import torch

from receiver.diffusion.condition import Condition, Conditioner
from receiver.diffusion.denoiser import Denoiser
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS
from tests.unit.receiver.diffusion.test_condition import TINY, clothing, levels

SHAPE = (2, DISPLACEMENT_TOKENS, COEFFICIENTS)


def condition() -> Condition:
    there = torch.arange(DISPLACEMENT_TOKENS) // 2
    made: Condition = Conditioner(TINY)(levels(), clothing()).at(there)
    return made


def denoiser() -> Denoiser:
    made = Denoiser(TINY)
    torch.nn.init.normal_(made.readout, std=0.1)
    return made


def test_output_follows_the_state_at_low_noise_and_the_labels_at_high_noise() -> None:
    torch.manual_seed(0)
    x, g = torch.randn(SHAPE), torch.randn(SHAPE)
    untrained, given = Denoiser(TINY), condition()
    weak, strong = (untrained(x, torch.full((2,), sigma), g, given) for sigma in (1e-4, 1e3))
    torch.testing.assert_close(weak, x, rtol=0, atol=1e-2)
    torch.testing.assert_close(strong, g, rtol=0, atol=1e-2)


def test_every_input_affects_the_output() -> None:
    torch.manual_seed(0)
    x, g = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE, requires_grad=True)
    sigma, given = torch.full((2,), 0.5, requires_grad=True), condition()
    out = denoiser()(x, sigma, g, given).square().sum()
    for gradient in torch.autograd.grad(out, [x, sigma, g, given.u_m, given.bias]):
        assert gradient.abs().sum() > 0


def test_swapped_conditions_change_the_result() -> None:
    torch.manual_seed(0)
    network, x, given = denoiser(), torch.randn(SHAPE), condition()
    sigma, g = torch.full((2,), 2.0), torch.zeros(SHAPE)
    own, swapped = network(x, sigma, g, given), network(x, sigma, g, given[torch.tensor([1, 0])])
    assert (own - swapped).abs().mean() > 0.01
