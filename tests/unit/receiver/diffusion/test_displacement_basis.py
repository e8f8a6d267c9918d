import torch

from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS, DisplacementBasis
from receiver.train.diffusion import covering_patch, fit_basis, token_members

VERTICES = 2600


def rest() -> torch.Tensor:
    return torch.randn(VERTICES, 3, generator=torch.Generator().manual_seed(0))


def fields(count: int = 40) -> torch.Tensor:
    """Displacements of a few centimetres in 6 directions of variation, around a mean."""
    generator = torch.Generator().manual_seed(1)
    directions = 0.01 * torch.randn(6, VERTICES, 3, generator=generator)
    weights = torch.randn(count, 6, generator=generator)
    return 0.02 + torch.einsum("nk,kvd->nvd", weights, directions)


def basis() -> DisplacementBasis:
    members = token_members(rest().numpy())
    return fit_basis(fields(), members, covering_patch(rest().numpy(), members, rest().numpy()[:128]))


def test_every_vertex_belongs_to_one_token() -> None:
    members = token_members(rest().numpy())
    assert members.shape == (DISPLACEMENT_TOKENS, 11)
    assert sorted(members[members < VERTICES]) == list(range(VERTICES))


def test_tokens_are_patches_of_neighbours() -> None:
    positions = rest()
    members = torch.from_numpy(token_members(positions.numpy()))
    padded = torch.cat([positions, torch.full((1, 3), float("nan"))])
    spread = (padded[members] - padded[members].nanmean(1, keepdim=True)).square().nanmean()
    assert float(spread) < 0.1 * float(positions.var())


def test_fields_survive_the_round_trip() -> None:
    fitted = basis()
    back = fitted.decode(fitted.encode(fields()))
    torch.testing.assert_close(back, fields(), rtol=0, atol=1e-5)


def test_coefficients_are_standardised() -> None:
    coefficients = basis().encode(fields())
    assert coefficients.shape == (40, DISPLACEMENT_TOKENS, COEFFICIENTS)
    leading = coefficients[..., 0]
    torch.testing.assert_close(leading.square().mean(0).sqrt(), torch.ones(DISPLACEMENT_TOKENS), rtol=1e-3, atol=1e-3)


def test_zero_coefficients_are_the_mean() -> None:
    fitted = basis()
    mean = fitted.decode(torch.zeros(1, DISPLACEMENT_TOKENS, COEFFICIENTS))[0]
    torch.testing.assert_close(mean, fields().mean(0))


def test_basis_loads_the_state_of_another() -> None:
    fitted = basis()
    loaded = DisplacementBasis.empty(VERTICES, fitted.members.shape[1])
    loaded.load_state_dict(fitted.state_dict())
    coefficients = torch.randn(2, DISPLACEMENT_TOKENS, COEFFICIENTS)
    torch.testing.assert_close(loaded.decode(coefficients), fitted.decode(coefficients))
