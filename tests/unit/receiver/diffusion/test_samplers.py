import pytest
import torch
from torch import Tensor

from receiver.diffusion.samplers import (
    paper_forward,
    paper_reverse,
    sample_consistency_multistep,
    sample_ddim,
    sample_heun,
    sigma_schedule,
)

SAMPLERS = [sample_ddim, sample_heun]


def test_schedule_decreases_to_zero() -> None:
    sigmas = sigma_schedule(3, 0.4, 0.05)
    assert sigmas[0] == 0.4 and sigmas[-1] == 0.0 and len(sigmas) == 4
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize(("steps", "sigma_max"), [(0, 0.2), (2, 0.001)])
def test_schedule_that_cannot_decrease_is_rejected(steps: int, sigma_max: float) -> None:
    with pytest.raises(ValueError, match="schedule"):
        sigma_schedule(steps, sigma_max)


@pytest.mark.parametrize("sample", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_sampler_reaches_the_point_of_a_constant_denoiser(sample: object, steps: int) -> None:
    target = torch.tensor([[1.0, -2.0]])
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    assert callable(sample)
    out = sample(lambda x, sigma: target.expand_as(x), x, sigma_schedule(steps, 1.0))
    torch.testing.assert_close(out, target.expand_as(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("sample", "steps", "tolerance"), [(sample_ddim, 64, 0.03), (sample_heun, 12, 0.03)])
def test_sampler_with_the_ideal_denoiser_reproduces_a_gaussian(sample: object, steps: int, tolerance: float) -> None:
    mean, deviation, sigma_max = 0.7, 0.3, 20.0

    def denoise(x: Tensor, sigma: float) -> Tensor:
        keep = deviation**2 / (deviation**2 + sigma**2)
        return mean + keep * (x - mean)

    x = mean + (deviation**2 + sigma_max**2) ** 0.5 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    assert callable(sample)
    out = sample(denoise, x, sigma_schedule(steps, sigma_max, 0.01))
    assert float(out.mean()) == pytest.approx(mean, abs=tolerance)
    assert float(out.std()) == pytest.approx(deviation, abs=tolerance)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_multistep_discards_the_initial_error_faster_than_ddim(steps: int) -> None:
    def denoise(x: Tensor, sigma: float) -> Tensor:
        return 0.5 * x  # the target is zero, and every call halves the remaining error

    start, sigmas = torch.full((4,), 8.0), sigma_schedule(steps, 0.4, 0.1)
    denoised = sample_consistency_multistep(denoise, start, sigmas, torch.zeros(4))
    torch.testing.assert_close(denoised, start * 0.5**steps)
    assert (sample_ddim(denoise, start, sigmas) >= denoised).all()


def test_consistency_multistep_adds_the_given_noise_between_steps() -> None:
    noise = torch.tensor([1.0, -1.0])
    seen: list[Tensor] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen.append(x)
        return torch.zeros(2)

    sample_consistency_multistep(denoise, noise, [0.4, 0.1, 0.0], noise)
    torch.testing.assert_close(seen[1], 0.1 * noise)


def test_paper_forward_scales_the_noise_by_u_m() -> None:
    u_m = torch.tensor([0.0, 1.0, 3.0]).expand(20_000, 3)
    c = (0.9, 0.8)
    x = paper_forward(torch.ones(20_000, 3), u_m, c, torch.Generator().manual_seed(0))
    assert torch.allclose(x.mean(0), torch.full((3,), (0.9 * 0.8) ** 0.5), atol=0.05)
    expected = (0.8 * (1 - 0.9) + (1 - 0.8)) ** 0.5 * u_m[0]
    torch.testing.assert_close(x.std(0), expected, rtol=0.03, atol=1e-5)


def test_paper_reverse_does_not_invert_paper_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """(27) subtracts u_m where (26) adds u_m ⊙ ε, so it inverts (26) only if every ε is 1."""
    x_0, u_m, c = torch.randn(50, 3), torch.full((50, 3), 2.0), (0.95,) * 5
    noisy = paper_forward(x_0, u_m, c, torch.Generator().manual_seed(0))
    assert (paper_reverse(noisy, u_m, c) - x_0).abs().mean() > 0.5
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.ones(shape))
    torch.testing.assert_close(paper_reverse(paper_forward(x_0, u_m, c), u_m, c), x_0)
