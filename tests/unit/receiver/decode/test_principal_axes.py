import torch

from receiver.decode.principal_axes import PrincipalAxes, channel_units


def bodies(count: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, generator=generator) @ torch.randn(3, 24, generator=generator) + 1.0


def test_features_in_the_span_of_the_axes_are_reproduced() -> None:
    s = bodies().unflatten(-1, (4, 6))
    level = PrincipalAxes(patches=4, axes=3)
    level.fit(s)
    torch.testing.assert_close(level(level.project(s)), s, rtol=1e-3, atol=1e-3)


def test_coefficients_have_unit_variance_and_keep_distances() -> None:
    s = bodies().unflatten(-1, (4, 6))
    level = PrincipalAxes(patches=4, axes=3)
    level.fit(s)
    coefficients = level.project(s)
    torch.testing.assert_close(coefficients.square().mean(0), torch.ones(3), rtol=1e-3, atol=1e-3)
    in_axes = ((coefficients[0] - coefficients[1]) * level.deviation).norm()
    torch.testing.assert_close(in_axes, ((s[0] - s[1]) / channel_units(s)).norm(), rtol=1e-3, atol=1e-3)
