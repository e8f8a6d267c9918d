import pytest
import torch

from common.body.surface_space import SURFACE_SIZE
from receiver.decode.clothing import Clothing
from receiver.diffusion.condition import Condition, Conditioner, DiffusionConfig, GeometryBias, pair_geometry

TINY = DiffusionConfig(width=32, heads=2, scale_depths=(1, 1, 1), depth=1)
Levels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def levels(seed: int = 0, batch: int = 2) -> Levels:
    generator = torch.Generator().manual_seed(seed)
    s_1, s_2, s_3 = (0.3 * torch.randn(batch, patches, 6, generator=generator) for patches in (32, 128, 512))
    return s_1, s_2, s_3


def clothing(seed: int = 0, batch: int = 2, known: int = SURFACE_SIZE) -> Clothing:
    """People of whose `surface` labels the first `known` entries have arrived."""
    generator = torch.Generator().manual_seed(seed)
    present = (torch.arange(SURFACE_SIZE) < known).float().expand(batch, -1)
    entries = torch.randn(batch, SURFACE_SIZE, generator=generator) * present
    return Clothing(entries, present, torch.randn(batch, 10, generator=generator))


def test_condition_has_128_tokens() -> None:
    condition = Conditioner(TINY)(levels(), clothing())
    assert condition.u_m.shape == (2, 128, 32)
    assert condition.bias.shape == (2, 2, 128, 128)


def test_condition_at_other_tokens_repeats_those_that_cover_them() -> None:
    condition = Conditioner(TINY)(levels(), clothing())
    there = condition.at(torch.tensor([5, 5, 9]))
    assert torch.equal(there.u_m[:, 0], there.u_m[:, 1]) and torch.equal(there.u_m[:, 2], condition.u_m[:, 9])
    assert torch.equal(there.bias[:, :, 0, 2], condition.bias[:, :, 5, 9])


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
    before = conditioner(levels(), clothing()).u_m
    after = conditioner((changed[0], changed[1], changed[2]), clothing()).u_m
    assert not torch.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize("other", [clothing(1), clothing(known=4)], ids=["other clothes", "a shorter prefix"])
def test_clothing_reaches_every_token(other: Clothing) -> None:
    torch.manual_seed(0)
    conditioner = Conditioner(TINY)
    change = (conditioner(levels(), clothing()).u_m - conditioner(levels(), other).u_m).abs()
    assert (change.amax(dim=-1) > 1e-4).all()


def test_weights_of_the_scales_depend_on_the_input_and_have_mean_one() -> None:
    torch.manual_seed(0)
    conditioner = Conditioner(TINY)
    for parameter in conditioner.log_weights.parameters():
        torch.nn.init.normal_(parameter)
    tokens = [torch.randn(2, patches, 32) for patches in (32, 128, 128)]
    weights = conditioner.weights(tokens)
    torch.testing.assert_close(weights.mean(-1), torch.ones(2, 128))
    assert weights.std(dim=1).min() > 0.01


def test_bias_changes_the_output_of_a_vit() -> None:
    torch.manual_seed(0)
    conditioner = Conditioner(TINY)
    before = conditioner(levels(), clothing()).u_m
    with torch.no_grad():
        for scale in conditioner.scales:
            scale.get_parameter("bias.weight").mul_(20.0)
    assert not torch.allclose(before, conditioner(levels(), clothing()).u_m, atol=1e-5)


def test_condition_is_indexed_by_person() -> None:
    condition = Conditioner(TINY)(levels(), clothing())
    swapped = condition[torch.tensor([1, 0])]
    assert isinstance(swapped, Condition)
    assert torch.equal(swapped.u_m[0], condition.u_m[1]) and torch.equal(swapped.bias[1], condition.bias[0])


def test_width_must_be_divisible_by_the_heads() -> None:
    with pytest.raises(ValueError, match="width"):
        DiffusionConfig(width=33, heads=2)
