"""The network of what people wear, untrained."""

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.wear_kinds import VALUES
from sender.perception.network.output import FEATURE_SIZE
from sender.wears.evidence import (
    COLOUR_FEATURES,
    PART_PX,
    PARTS,
    WornViews,
    limb_colours,
    part_pictures,
    part_transforms,
)
from sender.wears.network import LOGITS, WearsConfig, WearsNet, by_attribute, read_both_ways


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


@torch.no_grad()
def test_attribute_can_be_answered_by_its_frequency() -> None:
    net, source = network(), torch.zeros(2, dtype=torch.long)
    before = by_attribute(net(views(2), source))
    usual = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    net.answer_with(list(VALUES).index("sleeve"), usual)
    after = dict(zip(VALUES, by_attribute(net(views(2), source)), strict=True))
    torch.testing.assert_close(after["sleeve"], usual.expand(2, -1))
    torch.testing.assert_close(after["hair"], before[0])


def test_mirror_image_is_read_as_the_view_of_a_mirrored_picture() -> None:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    mask = np.full((80, 80), 255, np.uint8)
    places = rng.uniform(0.2, 0.8, (17, 2)).astype(np.float32)
    crossed = ([1, 0] + np.array([-1, 1]) * places)[MIRRORED_KEYPOINTS].astype(np.float32)
    turned = network().mirrored(view_of(picture, mask, places))
    expected = view_of(np.ascontiguousarray(picture[:, ::-1]), mask, crossed)
    torch.testing.assert_close(turned.colours, expected.colours)
    assert float((turned.parts - expected.parts).abs().mean()) < 0.01
    assert float((turned.parts - view_of(picture, mask, places).parts).abs().mean()) > 0.1


def view_of(picture: Image, mask: ByteArray, places: FloatArray) -> WornViews:
    parts = torch.from_numpy(part_pictures(picture, mask, part_transforms(places))).float() / 255
    return WornViews(parts[None], torch.from_numpy(limb_colours(picture, mask, places))[None], torch.zeros(1, 1))


def test_both_ways_are_the_same_for_a_person_and_the_mirror_image() -> None:
    net, seen, source = network(), views(2), torch.zeros(2, dtype=torch.long)
    both = read_both_ways(net, seen, source)
    torch.testing.assert_close(both, read_both_ways(net, net.mirrored(seen), source))
    assert not torch.allclose(both, net(seen, source))
