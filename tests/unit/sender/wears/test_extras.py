"""The network of extras, untrained, and the close parts that it sees."""

import numpy as np
import torch

from common.body.anatomy import KEYPOINT_INDEX, MIRRORED_KEYPOINTS
from common.wear_kinds import EXTRAS
from sender.perception.network.output import FEATURE_SIZE
from sender.wears.evidence import CLOSE_PARTS, PART_PX, CloseViews, close_transforms, part_pictures
from sender.wears.extras import ExtrasConfig, ExtrasNet, read_extras
from sender.wears.network import by_attribute


def views(people: int) -> CloseViews:
    torch.manual_seed(0)
    return CloseViews(torch.rand(people, len(CLOSE_PARTS), 4, PART_PX, PART_PX), torch.randn(people, FEATURE_SIZE))


def network() -> ExtrasNet:
    torch.manual_seed(1)
    return ExtrasNet(ExtrasConfig(token=8)).eval()


def standing() -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """(17, 2) keypoints of somebody who faces the camera."""
    half = {"nose": (0, 0.2), "eye": (0.02, 0.18), "ear": (0.05, 0.19), "shoulder": (0.1, 0.3), "elbow": (0.14, 0.45)}
    half |= {"wrist": (0.15, 0.6), "hip": (0.07, 0.6), "knee": (0.07, 0.8), "ankle": (0.07, 0.95)}
    places = np.zeros((17, 2), np.float32)
    for name, row in KEYPOINT_INDEX.items():
        x, y = half[name.split("_")[-1]]
        places[row] = 0.5 + (x if name.startswith("left") else -x), y
    return places


@torch.no_grad()
def test_logits_of_each_attribute() -> None:
    logits = network()(views(3))
    parts = by_attribute(logits, EXTRAS)
    assert [part.shape[1] for part in parts] == [len(values) for values in EXTRAS.values()]


@torch.no_grad()
def test_unknown_features_count_as_the_mean_and_hands_are_alike() -> None:
    net, seen = network(), views(2)
    unknown = CloseViews(seen.parts, torch.full_like(seen.features, torch.nan))
    torch.testing.assert_close(net(unknown), net(CloseViews(seen.parts, net.mean_X.expand(2, -1))))
    exchanged = CloseViews(seen.parts[:, [0, 1, 3, 2]], seen.features)
    torch.testing.assert_close(net(exchanged), net(seen))
    assert not torch.allclose(net(unknown), net(seen))


@torch.no_grad()
def test_mirrored_person_is_read_alike() -> None:
    picture = np.kron(np.random.default_rng(0).integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    mask, places, net = np.full((64, 64), 255, np.uint8), standing(), network()
    crossed = ([1, 0] + np.array([-1, 1]) * places)[MIRRORED_KEYPOINTS].astype(np.float32)
    cut = [
        part_pictures(image, mask, close_transforms(at))
        for image, at in ((picture, places), (np.ascontiguousarray(picture[:, ::-1]), crossed))
    ]
    read = [
        read_extras(net, CloseViews(torch.from_numpy(each)[None].float() / 255, torch.zeros(1, FEATURE_SIZE)))
        for each in cut
    ]
    torch.testing.assert_close(*read, atol=2e-3, rtol=0)


def test_close_parts_lie_on_eyes_mouth_and_hands() -> None:
    places = standing()
    found = dict(zip(CLOSE_PARTS, close_transforms(places), strict=True))
    eyes = places[[KEYPOINT_INDEX["left_eye"], KEYPOINT_INDEX["right_eye"]]]
    inside = eyes @ found["eyes"][:, :2].T + found["eyes"][:, 2]
    np.testing.assert_allclose(inside.mean(axis=0), [0.5, 0.5], atol=1e-5)
    assert (np.abs(inside - 0.5) < 0.4).all()
    for side in ("left", "right"):
        wrist = places[KEYPOINT_INDEX[f"{side}_wrist"]]
        across, down = wrist @ found[f"{side}_hand"][:, :2].T + found[f"{side}_hand"][:, 2]
        assert abs(across - 0.5) < 0.1 and 0.0 < down < 0.5, "the hand is below the wrist"
