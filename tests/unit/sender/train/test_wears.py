"""Labels as sets of values, calibration, and what training changes of a view."""

import numpy as np
import pytest
import torch

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import REGIONS
from common.wear_kinds import VALUES
from common.wears import possible
from sender.attributes.kinds import LOGITS, by_attribute, smallest_set, tells
from sender.train.wears import accuracies, certain, masses, set_loss
from sender.train.worn import before_other_scenery, bits, changed, hidden_unknown, reframed


def labels(**kinds: list[str]) -> torch.Tensor:
    return bits(torch.from_numpy(possible(kinds))[None])


def test_unknown_attributes_cost_nothing_and_sets_cost_their_sum() -> None:
    logits = torch.zeros(1, LOGITS)
    assert float(set_loss(logits, labels())) == 0
    assert float(set_loss(logits, labels(sleeve=["long"]))) == pytest.approx(np.log(4))
    assert float(set_loss(logits, labels(sleeve=["long", "short"]))) == pytest.approx(np.log(2))


def test_only_certain_values_are_scored() -> None:
    logits = torch.zeros(1, LOGITS)
    logits[0, -1] = 5.0
    known = labels(shoes=["boots"], sleeve=["long", "short"])
    assert float(certain(known).sum()) == 1
    assert accuracies(logits, known)["shoes"] == 1.0


def test_sets_cover_the_truth_and_what_is_not_read_is_never_said() -> None:
    rng = np.random.default_rng(0)
    people, values = 400, VALUES["sleeve"]
    true = rng.integers(0, len(values), people)
    kinds = [possible({"sleeve": [values[value]], "hair": [VALUES["hair"][value]]}) for value in true]
    known = bits(torch.from_numpy(np.stack(kinds)))
    logits = torch.randn(people, LOGITS, generator=torch.Generator().manual_seed(0))
    start = len(VALUES["hair"]) + len(VALUES["headwear"])
    logits[np.arange(people), start + true] += 1.5
    chosen = dict(zip(VALUES, masses(logits, known).tolist(), strict=True))
    assert {name for name, mass in chosen.items() if mass} == {"sleeve"}
    shares = by_attribute(logits)[2].softmax(dim=-1).numpy()
    held = smallest_set(shares, chosen["sleeve"])
    covers = held[np.arange(people), true][tells("sleeve", shares, held)]
    assert 0.9 <= covers.mean() < 0.93


def spot(place: tuple[float, float], size: int = 64) -> tuple[ByteArray, ByteArray, FloatArray]:
    """A picture and a mask with a bright square around one place (crop units), and 17 keypoints there."""
    picture, mask = np.zeros((size, size, 3), np.uint8), np.zeros((size // 2, size // 2), np.uint8)
    left, top = (int(size * each) for each in place)
    picture[top - 3 : top + 3, left - 3 : left + 3] = 255
    mask[top // 2 - 2 : top // 2 + 2, left // 2 - 2 : left // 2 + 2] = 255
    return picture, mask, np.tile(np.array(place, np.float32), (17, 1))


def test_keypoints_and_mask_follow_another_framing() -> None:
    rng, moved = np.random.default_rng(0), 0.0
    for _ in range(8):
        picture, mask, places = reframed(rng, *spot((0.375, 0.625)))
        at = places[0]
        for image in (picture[..., 0], mask):
            rows, columns = np.nonzero(image > 128)
            centre = (np.array([columns.mean(), rows.mean()]) + 0.5) / len(image)
            np.testing.assert_allclose(centre, at, atol=0.03)
        moved = max(moved, float(np.abs(at - [0.375, 0.625]).max()))
    assert moved > 0.02


def test_other_scenery_leaves_the_person() -> None:
    picture, mask, _ = spot((0.5, 0.5))
    changed_outside = 0
    for seed in range(40):
        seen = before_other_scenery(np.random.default_rng(seed), picture, mask)
        assert seen[31, 31].min() > 200
        changed_outside += bool(seen[5, 5].any())
    assert 0 < changed_outside < 20


def test_mirrored_views_exchange_left_and_right() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    places = np.linspace(0.2, 0.8, 34, dtype=np.float32).reshape(17, 2)
    seen = [changed(np.random.default_rng(seed), picture, picture[..., 0], places)[2] for seed in range(8)]
    mirrored = [bool(moved[5, 0] > 0.5) for moved in seen]
    assert any(mirrored) and not all(mirrored)


def test_hidden_feet_have_unknown_shoes() -> None:
    kinds = possible({"shoes": ["boots"], "layer": ["coat"]})[None]
    chest = 1 + REGIONS.index("chest")
    seen = dict(zip(VALUES, hidden_unknown(kinds, np.full((1, 8, 8), chest, np.uint8))[0].tolist(), strict=True))
    assert seen["shoes"] == 0b1111 and seen["layer"] == 1 << VALUES["layer"].index("coat")
