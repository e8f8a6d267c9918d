"""Labels as sets of values, calibration, and what training changes of a view."""

import numpy as np
import pytest
import torch

from common.body.anatomy import REGIONS
from common.wear_kinds import VALUES
from common.wears import possible
from sender.attributes.kinds import LOGITS, by_attribute, smallest_set, tells
from sender.train.wears import accuracies, bits, certain, changed, hidden_unknown, masses, set_loss


def labels(**kinds: list[str]) -> torch.Tensor:
    return bits(torch.from_numpy(possible(kinds))[None])


def test_unknown_attributes_cost_nothing_and_sets_cost_their_sum() -> None:
    logits = torch.zeros(1, LOGITS)
    assert float(set_loss(logits, labels(), smoothing=0.5)) == 0
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


def test_keypoints_and_mask_follow_another_framing() -> None:
    rng, sides = np.random.default_rng(0), set[bool]()
    picture, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32), np.uint8)
    picture[37:43, 21:27], mask[18:22, 10:14] = 255, 255
    places = np.tile(np.array([0.375, 0.625], np.float32), (17, 1))
    for _ in range(12):
        seen, followed, at = changed(rng, picture, mask, places, restaged=True)
        rows, columns = np.nonzero(followed > 128)
        there = (np.array([columns.mean(), rows.mean()]) + 0.5) / 32
        np.testing.assert_allclose(at.mean(axis=0), there, atol=0.06)
        assert seen.shape == picture.shape and not np.array_equal(seen, picture)
        sides.add(bool(there[0] > 0.5))
    assert sides == {False, True}, "half of them are mirrored"


def test_hidden_feet_have_unknown_shoes() -> None:
    kinds = possible({"shoes": ["boots"], "layer": ["coat"]})[None]
    chest = 1 + REGIONS.index("chest")
    seen = dict(zip(VALUES, hidden_unknown(kinds, np.full((1, 8, 8), chest, np.uint8))[0].tolist(), strict=True))
    assert seen["shoes"] == 0b1111 and seen["layer"] == 1 << VALUES["layer"].index("coat")
