"""The network of what people wear, untrained."""

import torch

from common.wear_kinds import VALUES
from sender.attributes.kinds import (
    COLOUR_FEATURES,
    LOGITS,
    PART_PX,
    PARTS,
    KindNet,
    KindNetConfig,
    KindViews,
    by_attribute,
)
from sender.perception.perception_network import FEATURE_SIZE


def views(people: int, seed: int = 0) -> KindViews:
    torch.manual_seed(seed)
    parts = torch.rand(people, len(PARTS), 4, PART_PX, PART_PX)
    return KindViews(parts, torch.randn(people, COLOUR_FEATURES), torch.randn(people, FEATURE_SIZE))


def network() -> KindNet:
    torch.manual_seed(1)
    return KindNet(KindNetConfig(token=8, hidden=16)).eval()


def test_logits_of_each_attribute() -> None:
    logits = network()(views(3), torch.tensor([0, 1, 0]))
    assert logits.shape == (3, LOGITS)
    assert [part.shape[1] for part in by_attribute(logits)] == [len(values) for values in VALUES.values()]


def test_unknown_features_count_as_the_mean() -> None:
    net, seen = network(), views(2)
    unknown = KindViews(seen.parts, seen.colours, torch.full_like(seen.features, torch.nan))
    mean = KindViews(seen.parts, seen.colours, net.mean_X.expand(2, -1))
    source = torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(net(unknown, source), net(mean, source))
