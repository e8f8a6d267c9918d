"""What is said of a posterior."""

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.wear_kinds import VALUES
from common.wears import Wears
from sender.attributes.kinds import (
    COLOUR_FEATURES,
    LOGITS,
    PART_PX,
    PARTS,
    PLACES,
    KindMemory,
    KindNet,
    KindNetConfig,
    KindViews,
    by_attribute,
    limb_colours,
    part_pictures,
    part_transforms,
    said,
    smallest_set,
)
from sender.perception.perception_network import FEATURE_SIZE


def sleeves(**shares: float) -> dict[str, np.ndarray]:
    return {"sleeve": np.array([shares.get(value, 0.0) for value in VALUES["sleeve"]], np.float32)}


def test_set_is_the_smallest_with_the_probability() -> None:
    shares = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.1, 0.1, 0.75]], np.float32)
    assert smallest_set(shares, 0.7).tolist() == [[True, True, False, False], [False, False, False, True]]
    assert smallest_set(shares, 0.81).sum(axis=1).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("posterior", "expected"),
    [
        (sleeves(long=0.95, short=0.05), ["long"]),
        (sleeves(sleeveless=0.3, short=0.6, long=0.1), ["short", "sleeveless"]),
        (sleeves(long=0.4, short=0.5, bare=0.1), ["short", "long"]),
        (sleeves(long=0.5, short=0.4, bare=0.1), None),
    ],
    ids=["sure", "rules out what is usual", "is read as fewer people are", "is read as most are"],
)
def test_what_tells_no_more_than_is_usual_is_not_said(
    posterior: dict[str, np.ndarray], expected: list[str] | None
) -> None:
    assert said(posterior, {"sleeve": 0.9}).sets().get("sleeve") == expected


# A person who stands upright and faces the camera; crop units.
STANDING = np.array(
    [(0.5, 0.15), (0.52, 0.13), (0.48, 0.13), (0.54, 0.14), (0.46, 0.14), (0.58, 0.25), (0.42, 0.25), (0.62, 0.38),
     (0.38, 0.38), (0.64, 0.5), (0.36, 0.5), (0.55, 0.5), (0.45, 0.5), (0.55, 0.7), (0.45, 0.7), (0.55, 0.9),
     (0.45, 0.9)], np.float32)  # fmt: skip
FULL = np.full((64, 64), 255, np.uint8)


def places(transforms: np.ndarray, part: str, points: np.ndarray) -> np.ndarray:
    transform = transforms[PARTS.index(part)]
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def test_keypoints_are_inside_their_parts() -> None:
    transforms = part_transforms(STANDING)
    for part, rows in (("head", [0, 1, 2, 3, 4]), ("torso", [5, 6, 11, 12]), ("left_arm", [5, 7, 9])):
        inside = places(transforms, part, STANDING[rows])
        assert (inside > 0).all() and (inside < 1).all(), part
    nose, ankle = places(transforms, "head", STANDING[:1])[0], places(transforms, "left_leg", STANDING[15:16])[0]
    assert 0.3 < nose[0] < 0.7 and ankle[1] > 0.8, "the part is upright"


def test_mirrored_person_has_the_same_parts_on_the_other_side() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    crossed = ([1, 0] + np.array([-1, 1]) * STANDING)[MIRRORED_KEYPOINTS].astype(np.float32)
    first = part_pictures(picture, FULL, part_transforms(STANDING))
    second = part_pictures(mirrored, FULL, part_transforms(crossed))
    for part in ("arm", "leg", "foot"):
        left, right = PARTS.index(f"left_{part}"), PARTS.index(f"right_{part}")
        difference = np.abs(first[left].astype(int) - second[right].astype(int))
        assert difference.mean() < 2, part


def test_colours_differ_from_the_face_where_there_is_cloth() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    picture[22:] = (0, 0, 255)
    colours = limb_colours(picture, FULL, STANDING).reshape(PLACES, 7)
    assert colours.size == COLOUR_FEATURES
    assert np.abs(colours[:36, 3:6]).max(axis=1).min() > 0.3, "limbs"
    assert np.abs(colours[36:39, 3:6]).max() < 0.05, "scalp"


def view(**sure: float) -> dict[str, FloatArray]:
    """Uniform posteriors; `long=0.7` is the probability of a long sleeve."""
    posterior = {name: np.full(len(values), 1 / len(values), np.float32) for name, values in VALUES.items()}
    for value, share in sure.items():
        rest = (1 - share) / (len(VALUES["sleeve"]) - 1)
        posterior["sleeve"] = np.where([each == value for each in VALUES["sleeve"]], share, rest).astype(np.float32)
    return posterior


def sleeve(memory: KindMemory) -> tuple[str, float]:
    return Wears(memory.posterior).likeliest()["sleeve"]


def test_equal_views_of_a_clip_make_little_surer() -> None:
    memory = KindMemory()
    for _ in range(50):
        memory.add(view(long=0.7))
    value, share = sleeve(memory)
    assert value == "long" and 0.7 < share < 0.85


def test_clothes_change_only_after_several_contradicting_views() -> None:
    memory = KindMemory()
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
        assert sleeve(memory)[0] == "long"
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "long", "not in a row"
    memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "short"


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
