import pytest
import torch

from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from receiver.decode.clothing import Clothing
from receiver.decode.stage import DecodedBody
from receiver.diffusion.config import SamplingConfig
from receiver.diffusion.stage import DiffusionNetwork, DiffusionStage, unknown_share
from receiver.train.diffusion import covering_patch, fit_basis, token_members
from tests.unit.receiver.diffusion.test_condition import TINY, clothing, levels

FIELDS = ("entries", "present", "shape")


@pytest.fixture(scope="module")
def space() -> SurfaceSpace:
    return SurfaceSpace.load()


@pytest.fixture(scope="module")
def network(space: SurfaceSpace) -> DiffusionNetwork:
    """Untrained but for a basis that holds the space, and a readout that is not zero."""
    torch.manual_seed(0)
    entries = torch.randn(64, SURFACE_SIZE, generator=torch.Generator().manual_seed(0))
    fields = space.decode(entries)
    rest = torch.rand(fields.shape[1], 3).numpy()
    members = token_members(rest)
    made = DiffusionNetwork(TINY, fit_basis(fields, members, covering_patch(rest, members, rest[:128])))
    torch.nn.init.normal_(made.denoiser.readout, std=0.05)
    return made


@pytest.fixture(scope="module")
def stage(network: DiffusionNetwork, space: SurfaceSpace) -> DiffusionStage:
    return DiffusionStage(network, space)


def decoded(batch: int = 2, known: int = SURFACE_SIZE) -> DecodedBody:
    return DecodedBody(
        levels(batch=batch),
        torch.zeros(batch, 8),
        clothing(batch=batch, known=known),
        (known == SURFACE_SIZE,) * batch,
    )


def select(batch: DecodedBody, row: int) -> DecodedBody:
    s_1, s_2, s_3 = (s[row : row + 1] for s in batch.s_levels)
    rows = slice(row, row + 1)
    return DecodedBody(
        (s_1, s_2, s_3),
        batch.z_prime[rows],
        batch.clothing[rows],
        batch.clothes_known[rows],
    )


def test_everybody_gets_a_displacement_of_every_vertex(stage: DiffusionStage, space: SurfaceSpace) -> None:
    field = stage.displacements(decoded(), [0, 1])
    assert field.shape == (2, *space.decode(torch.zeros(1, SURFACE_SIZE)).shape[1:])
    assert torch.isfinite(field).all() and not torch.allclose(field[0], field[1])


def test_displacements_are_independent_of_the_batch(stage: DiffusionStage) -> None:
    batch = decoded()
    alone, batched = stage.displacements(select(batch, 1), [7])[0], stage.displacements(batch, [3, 7])[1]
    torch.testing.assert_close(alone, batched, rtol=0, atol=1e-5)


def test_number_of_steps_is_that_of_each_person(stage: DiffusionStage) -> None:
    known, unknown = decoded(batch=1), select(decoded(known=4), 1)
    both = DecodedBody(
        tuple(torch.cat(pair) for pair in zip(known.s_levels, unknown.s_levels, strict=True)),  # type: ignore[arg-type]
        torch.zeros(2, 8),
        Clothing(*(torch.cat([getattr(one.clothing, name) for one in (known, unknown)]) for name in FIELDS)),
        (True, False),
    )
    together = stage.displacements(both, [3, 7])
    torch.testing.assert_close(together[:1], stage.displacements(known, [3]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], stage.displacements(unknown, [7]), rtol=0, atol=1e-5)


def test_noise_falls_with_what_is_known(space: SurfaceSpace) -> None:
    shares = [float(unknown_share(space, clothing(known=known))[0]) for known in (0, 4, 16, SURFACE_SIZE)]
    assert shares[0] == pytest.approx(1) and shares[-1] == pytest.approx(0, abs=1e-5)
    assert shares == sorted(shares, reverse=True) and shares[1] < 0.8


def test_same_identity_has_the_same_displacements_in_every_frame(stage: DiffusionStage) -> None:
    person = select(decoded(known=4), 0)
    first, again, other = (stage.displacements(person, [identity]) for identity in (4, 4, 5))
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 0


def test_labels_that_have_not_arrived_have_no_effect(stage: DiffusionStage) -> None:
    short = decoded(known=4)
    whole = stage.displacements(decoded(), [0, 1])
    assert not torch.allclose(stage.displacements(short, [0, 1]), whole, atol=1e-4)


def test_people_and_identities_must_match(stage: DiffusionStage) -> None:
    with pytest.raises(ValueError, match="1 identities for 2 people"):
        stage.displacements(decoded(), [0])


@pytest.mark.parametrize("sampler", ["ddim", "consistency_multistep", "heun", "paper"])
def test_every_sampler_gives_finite_displacements(network: DiffusionNetwork, space: SurfaceSpace, sampler: str) -> None:
    stage = DiffusionStage(network, space, SamplingConfig(sampler=sampler))  # type: ignore[arg-type]
    assert torch.isfinite(stage.displacements(decoded(), [0, 1])).all()


@pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": 101}, {"sigma_start": 0.1}, {"sampler": "other"}])
def test_invalid_settings_are_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SamplingConfig(**changes)  # type: ignore[arg-type]
