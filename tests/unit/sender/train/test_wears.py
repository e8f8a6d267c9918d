"""Labels as sets of values, calibration, and what training changes of a view."""

import numpy as np
import pytest
import torch

from common.body.anatomy import REGIONS
from common.wears import VALUES, possible
from sender.train.wears import accuracies, bits, calibrate, certain, changed, set_loss
from sender.train.worn_people import hidden_unknown
from sender.wears.network import LOGITS, WearsConfig, WearsNet, by_attribute


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


def test_calibration_answers_with_frequencies_where_nothing_is_read() -> None:
    torch.manual_seed(0)
    network = WearsNet(WearsConfig(token=8, hidden=16)).eval()
    kinds = [possible({"sleeve": [value], "shoes": ["shoes"]}) for value in VALUES["sleeve"] * 8]
    known = bits(torch.from_numpy(np.stack(kinds)))
    logits = torch.zeros(len(known), LOGITS)
    sleeves = by_attribute(certain(known))[2]
    start = sum(len(values) for values in list(VALUES.values())[:2])
    logits[:, start : start + 4] = 0.5 * sleeves
    with torch.no_grad():
        calibrate(network, logits, known, torch.zeros(LOGITS))
    sharpened = network.temperature[start]
    assert float(sharpened) == pytest.approx(0.5), "always right and too unsure"
    weights = network.leave.weight[start : start + 4]
    assert weights.abs().max() > 0 and network.leave.weight[:6].abs().max() == 0


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
