import torch

from receiver.diffusion.condition import Condition, Conditioner
from receiver.diffusion.denoiser import Denoiser, from_state, points_of, to_state, tokens_of
from tests.unit.receiver.diffusion.test_condition import TINY, levels


def test_state_round_trip() -> None:
    points, normals = torch.randn(2, 2048, 3), torch.nn.functional.normalize(torch.randn(2, 2048, 3), dim=-1)
    back = from_state(to_state(points, normals))
    torch.testing.assert_close(back[0], points)
    torch.testing.assert_close(back[1], normals)


def test_fit_centre_recovers_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    linear_map = torch.randn(128, 32, 96, generator=generator)
    conditions = [torch.randn(40, 128, 32, generator=generator) for _ in range(3)]
    pairs = [(u_m, points_of(torch.einsum("bnw,nwx->bnx", u_m, linear_map) + 0.5)) for u_m in conditions]
    denoiser = Denoiser(TINY)
    denoiser.fit_centre(pairs, ridge=1e-7)
    condition = Condition(pairs[0][0], torch.zeros(()))
    torch.testing.assert_close(denoiser.centre(condition), pairs[0][1], rtol=1e-3, atol=1e-3)


def test_tokens_round_trip() -> None:
    points = torch.randn(2, 2048, 6)
    assert torch.equal(points_of(tokens_of(points)), points)


def test_output_follows_the_cloud_at_low_noise_and_the_condition_at_high_noise() -> None:
    torch.manual_seed(0)
    conditioner, denoiser = Conditioner(TINY), Denoiser(TINY)
    condition = conditioner(levels())
    x = torch.randn(2, 2048, 6)
    weak, strong = (denoiser(x, torch.full((2,), sigma), condition) for sigma in (1e-4, 10.0))
    torch.testing.assert_close(weak, x, rtol=0, atol=1e-2)
    torch.testing.assert_close(strong, denoiser.centre(condition), rtol=0, atol=1e-2)


def test_every_input_affects_the_output() -> None:
    torch.manual_seed(0)
    conditioner, denoiser = Conditioner(TINY), Denoiser(TINY)
    torch.nn.init.normal_(denoiser.readout.weight)
    x = torch.randn(2, 2048, 6, requires_grad=True)
    sigma = torch.full((2,), 0.1, requires_grad=True)
    condition = conditioner(levels())
    out = denoiser(x, sigma, condition).square().sum()
    for gradient in torch.autograd.grad(out, [x, sigma, condition.u_m, condition.bias]):
        assert gradient.abs().sum() > 0


def test_swapped_conditions_change_the_clouds() -> None:
    torch.manual_seed(0)
    condition = Conditioner(TINY)(levels())
    denoiser = Denoiser(TINY)
    x, sigma = torch.randn(2, 2048, 6), torch.full((2,), 0.3)
    own, swapped = denoiser(x, sigma, condition), denoiser(x, sigma, condition[torch.tensor([1, 0])])
    assert (own - swapped).abs().mean() > 0.01
