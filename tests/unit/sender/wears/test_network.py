"""The network of what people wear, untrained."""

import torch

from common.wear_kinds import VALUES
from sender.perception.network.output import FEATURE_SIZE
from sender.wears.evidence import COLOUR_FEATURES, PART_PX, PARTS, WornViews
from sender.wears.network import LOGITS, WearsConfig, WearsNet, by_attribute


def views(people: int, seed: int = 0) -> WornViews:
    torch.manual_seed(seed)
    parts = torch.rand(people, len(PARTS), 4, PART_PX, PART_PX)
    return WornViews(parts, torch.randn(people, COLOUR_FEATURES), torch.randn(people, FEATURE_SIZE))


def network() -> WearsNet:
    torch.manual_seed(1)
    return WearsNet(WearsConfig(token=8, hidden=16)).eval()


def test_logits_of_each_attribute() -> None:
    logits = network()(views(3), torch.tensor([0, 1, 0]))
    assert logits.shape == (3, LOGITS)
    assert [part.shape[1] for part in by_attribute(logits)] == [len(values) for values in VALUES.values()]


def test_unknown_features_count_as_the_mean() -> None:
    net, seen = network(), views(2)
    unknown = WornViews(seen.parts, seen.colours, torch.full_like(seen.features, torch.nan))
    mean = WornViews(seen.parts, seen.colours, net.mean_X.expand(2, -1))
    source = torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(net(unknown, source), net(mean, source))
