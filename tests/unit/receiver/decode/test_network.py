import pytest
import torch

from common.labels import LABEL_SIZE, group_slices
from receiver.decode.network import DecodeConfig, DecodeNetwork, PrincipalAxes, channel_units, geometry_entries

TINY = DecodeConfig(
    latent=8,
    components=3,
    state=8,
    encoder_width=16,
    covariance_rank=4,
    widths=(8, 8, 8),
    depths=(1, 1, 1),
    axes=(4, 4, 4),
)


@pytest.fixture(scope="module")
def network() -> DecodeNetwork:
    torch.manual_seed(0)
    network = DecodeNetwork(TINY, torch.arange(2048))
    network.decoder.fit_axes(tuple(torch.randn(16, patches, 6) for patches in (32, 128, 512)))  # type: ignore[arg-type]
    return network.eval()


def test_output_has_three_levels_from_coarse_to_fine(network: DecodeNetwork) -> None:
    levels = network(torch.randn(2, LABEL_SIZE), torch.ones(2, LABEL_SIZE))
    assert [tuple(s.shape) for s in levels] == [(2, 32, 6), (2, 128, 6), (2, 512, 6)]


def test_absent_entries_do_not_affect_the_output(network: DecodeNetwork) -> None:
    present = torch.ones(1, LABEL_SIZE)
    present[:, group_slices()["left_arm"]] = 0
    labels = torch.randn(1, LABEL_SIZE)
    other = labels.clone()
    other[:, group_slices()["left_arm"]] = 7.0
    assert torch.equal(network(labels, present)[2], network(other, present)[2])


def test_absent_group_differs_from_a_group_of_zeros(network: DecodeNetwork) -> None:
    present = torch.ones(1, LABEL_SIZE)
    absent = present.clone()
    absent[:, group_slices()["left_arm"]] = 0
    labels = torch.zeros(1, LABEL_SIZE)
    assert not torch.allclose(network(labels, present)[2], network(labels, absent)[2])


@pytest.mark.parametrize("name", ["root", "appearance"])
def test_root_and_appearance_do_not_affect_the_geometry(network: DecodeNetwork, name: str) -> None:
    labels, present = torch.randn(1, LABEL_SIZE), torch.ones(1, LABEL_SIZE)
    other = labels.clone()
    other[:, group_slices()[name]] += 1.0
    assert torch.equal(network(labels, present)[2], network(other, present)[2])


def test_geometry_entries_exclude_root_colours_and_clothes() -> None:
    slices = group_slices()
    outside = {entry for name in ("root", "appearance", "surface") for entry in range(LABEL_SIZE)[slices[name]]}
    assert set(geometry_entries().tolist()) == set(range(LABEL_SIZE)) - outside


def test_levels_depend_on_the_latent_and_on_earlier_levels(network: DecodeNetwork) -> None:
    z = torch.randn(1, TINY.latent, requires_grad=True)
    for s in network.decoder(z):
        (gradient,) = torch.autograd.grad(s.sum(), z, retain_graph=True)
        assert gradient.abs().sum() > 0
    first = network.decoder.get_parameter("features.0.1.weight")
    (gradient,) = torch.autograd.grad(network.decoder(z)[2].sum(), first)
    assert gradient.abs().sum() > 0


def test_encoder_mode_equals_the_mode_of_its_mixture(network: DecodeNetwork) -> None:
    y, present = torch.randn(4, len(network.entries)), torch.ones(4, len(network.entries))
    torch.testing.assert_close(network.encoder.mode(y, present), network.encoder(y, present).mode())


def test_size_below_one_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DecodeConfig(latent=0)


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
