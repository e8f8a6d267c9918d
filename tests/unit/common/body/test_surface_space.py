import pytest
import torch

from common.body.anatomy import MIRROR_SIGNS
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate


@pytest.fixture
def space() -> SurfaceSpace:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(SURFACE_SIZE, 40, 3, generator=generator)
    return SurfaceSpace(
        torch.randn(40, 3, generator=generator),
        basis,
        torch.rand(40, generator=generator) + 0.1,
        torch.ones(SURFACE_SIZE),
    )


def test_encode_inverts_decode(space: SurfaceSpace) -> None:
    entries = torch.randn(5, SURFACE_SIZE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(space.encode(space.decode(entries)), entries, atol=1e-4, rtol=0)


def test_mirrored_entries_are_the_mirror_image() -> None:
    space, template = SurfaceSpace.load(), BodyTemplate.from_model(BodyModel.load())
    entries = torch.randn(2, SURFACE_SIZE, generator=torch.Generator().manual_seed(3))
    image = space.decode(entries)[:, template.mirror] * torch.tensor(MIRROR_SIGNS)
    torch.testing.assert_close(space.decode(space.mirrored(entries)), image, atol=1e-3, rtol=0)
