import pytest
import torch

from receiver.diffusion.condition import Condition, Conditioner, DiffusionConfig, GeometryBias, pair_geometry

TINY = DiffusionConfig(width=32, heads=2, scale_depths=(1, 1, 1), depth=1)
Levels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def levels(seed: int = 0, batch: int = 2) -> Levels:
    generator = torch.Generator().manual_seed(seed)
    s_1, s_2, s_3 = (0.3 * torch.randn(batch, patches, 6, generator=generator) for patches in (32, 128, 512))
    return s_1, s_2, s_3


def test_condition_has_the_tokens_of_the_denoiser() -> None:
    condition = Conditioner(TINY)(levels())
    assert condition.u_m.shape == (2, 128, 32)
    assert condition.bias.shape == (2, 2, 128, 128)


def test_pair_geometry_separates_near_from_far_and_front_from_back() -> None:
    patches = torch.tensor([[[0.0, 0, 0, 0, 0, 1], [0, 0, 1.0, 0, 0, -1], [0.02, 0, 0, 0, 0, 1]]])
    pairs = pair_geometry(patches)[0]
    proximity, agreement, towards = pairs[0], pairs[4], pairs[5]
    assert proximity[0, 2] > 0.9 > 0.01 > proximity[0, 1]
    assert agreement[0, 2] == pytest.approx(1.0) and agreement[0, 1] == pytest.approx(-1.0)
    assert towards[0, 1] == pytest.approx(1.0, abs=1e-3) and towards[1, 0] == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(pairs[6], towards.mT)


def test_attention_bias_depends_on_the_features() -> None:
    bias = GeometryBias(heads=2)
    first, second = (bias(pair_geometry(levels(seed)[1])) for seed in (0, 1))
    assert not torch.allclose(first, second)


def test_pair_geometry_is_invariant_to_translation() -> None:
    s_2 = levels()[1]
    moved = s_2 + torch.tensor([0.1, -0.2, 0.3, 0, 0, 0])
    torch.testing.assert_close(pair_geometry(s_2), pair_geometry(moved), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_reaches_the_condition(level: int) -> None:
    torch.manual_seed(0)
    conditioner, changed = Conditioner(TINY), list(levels())
    changed[level] = changed[level] + 0.1
    before, after = conditioner(levels()).u_m, conditioner((changed[0], changed[1], changed[2])).u_m
    assert not torch.allclose(before, after, atol=1e-4)


def test_bias_changes_the_output_of_a_vit() -> None:
    torch.manual_seed(0)
    conditioner = Conditioner(TINY)
    before = conditioner(levels()).u_m
    with torch.no_grad():
        for scale in conditioner.scales:
            scale.get_parameter("bias.weight").mul_(20.0)
    assert not torch.allclose(before, conditioner(levels()).u_m, atol=1e-5)


def test_condition_is_indexed_by_person() -> None:
    condition = Conditioner(TINY)(levels())
    swapped = condition[torch.tensor([1, 0])]
    assert isinstance(swapped, Condition)
    assert torch.equal(swapped.u_m[0], condition.u_m[1]) and torch.equal(swapped.bias[1], condition.bias[0])


@pytest.mark.parametrize(("width", "heads"), [(33, 2), (16, 2)])
def test_invalid_sizes_are_rejected(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match="width"):
        DiffusionConfig(width=width, heads=heads)
