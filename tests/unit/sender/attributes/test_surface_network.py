from dataclasses import replace

import pytest
import torch

from common.body.anatomy import POINTS, TOKENS
from common.body.surface_space import SURFACE_SIZE
from sender.attributes.surface import FEATURES, PLACES_M, SURFACE_PX, SurfaceNet, SurfaceNetConfig, SurfaceViews
from sender.perception.perception_network import FEATURE_SIZE

TINY = SurfaceNetConfig(width=32, heads=2, depth=1)
HALF = SURFACE_PX // 2


def views(count: int = 2, scale: float = 1.0) -> SurfaceViews:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return scale * torch.randn(count, *shape, generator=generator)

    return SurfaceViews(
        random(POINTS, FEATURES),
        torch.rand(count, TOKENS, len(PLACES_M), 2, generator=generator),
        random(3, SURFACE_PX, SURFACE_PX),
        random(2, HALF, HALF),
        random(FEATURE_SIZE),
    )


def network() -> SurfaceNet:
    torch.manual_seed(0)
    return SurfaceNet(TINY).eval()


@pytest.mark.parametrize("name", ["evidence", "places", "picture", "maps", "features"])
def test_every_input_affects_mean_and_variance(name: str) -> None:
    given = getattr(views(), name).requires_grad_()
    estimate = network()(replace(views(), **{name: given}))
    for output in (estimate.mean, estimate.log_variance):
        assert output.shape == (2, SURFACE_SIZE)
        (gradient,) = torch.autograd.grad(output.sum(), [given], retain_graph=True)
        assert gradient.abs().sum() > 0


def test_places_outside_the_crop_show_nothing_of_the_picture() -> None:
    net = network()
    # Features of the whole picture do not depend on the places.
    net.person[0].get_parameter("weight").data[:, FEATURE_SIZE:] = 0
    inside = views()
    outside = replace(inside, places=torch.full((2, TOKENS, len(PLACES_M), 2), 2.0))
    for shown, changes in ((inside, True), (outside, False)):
        with torch.no_grad():
            one, other = net(shown), net(replace(shown, picture=1 - shown.picture))
        assert torch.equal(one.mean, other.mean) != changes
        assert torch.equal(one.log_variance, other.log_variance) != changes


def test_views_are_concatenated_in_order() -> None:
    one, two = views(1), views(1, scale=2.0)
    both = SurfaceViews.concatenate([one, two])
    assert len(both) == 2
    assert torch.equal(both.evidence[:1], one.evidence) and torch.equal(both.features[1:], two.features)
