"""Calibration of the layers that multiply in 8 bits."""

import pytest
import torch
from torch import nn

from common.errors import UsageError
from common.weights.loader import load_recorded
from common.weights.manifest import find_entry
from sender.perception import detect as detector
from sender.perception import movenet, predictor
from sender.perception.detect import NanoDetConfig, NanoDetNet
from sender.perception.movenet import MoveNetConfig, MoveNetGraph, MoveNetNet
from sender.perception.perception_network import PerceptionConfig, PerceptionNet
from sender.train import quantisation
from sender.train.quantisation import Subject, calibrated


def test_ranges_of_the_layers_that_are_worth_it() -> None:
    small, of_picture, estimate = nn.Conv2d(3, 64, 1, bias=False), nn.Conv2d(3, 256, 7), nn.Conv2d(256, 4, 3, padding=1)
    large = nn.Conv2d(64, 256, 3, padding=1)
    network = nn.Sequential(small, nn.ReLU(), large, estimate)
    nn.init.constant_(small.weight, 1.0)
    inputs = [(torch.full((1, 3, 8, 8), value),) for value in (0.5, 2.0, -1.0)]
    assert calibrated(of_picture, [(torch.ones(1, 3, 80, 80),)]) == {}
    assert calibrated(network, inputs) == {"2": (0.0, 6.0)}
    # The networks run in several threads: nothing of the calibration may stay.
    assert not large._forward_hooks


def test_ranges_that_cost_accuracy_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("detector", nn.Identity(), [(torch.zeros(1, 3, 8, 8),)], lambda _: {}, "ap")
    monkeypatch.setattr(quantisation, "subjects", lambda *_: iter([subject]))
    monkeypatch.setattr(quantisation, "calibrated", lambda *_: {"layer": (0.0, 1.0)})
    monkeypatch.setattr(quantisation, "scored", lambda _subject, int8: {"ap": 0.4 if int8 else 0.5})
    monkeypatch.setattr(quantisation, "add_entry", lambda *_: pytest.fail("exported"))
    with pytest.raises(UsageError, match=r"8 bits cost detector 0\.100 of ap"):
        quantisation.calibrate(quantisation.parse(["--photographs", "x", "--export"]))


@pytest.mark.parametrize("name", [predictor.WEIGHTS_NAME, detector.WEIGHTS_NAME, *movenet.NAMES])
def test_shipped_ranges_are_of_layers_that_the_network_has(name: str) -> None:
    if name == predictor.WEIGHTS_NAME:
        network: nn.Module = predictor.PerceptionGraph(
            load_recorded(name, predictor.KIND, PerceptionConfig, PerceptionNet)
        )
    elif name in movenet.NAMES:
        network = MoveNetGraph(load_recorded(name, movenet.KIND, MoveNetConfig, MoveNetNet))
    else:
        network = load_recorded(name, detector.KIND, NanoDetConfig, NanoDetNet)
    ranges = find_entry(name).int8
    assert set(ranges) <= dict(network.named_modules()).keys()
    assert all(low <= 0 < high for low, high in ranges.values())
    assert len(ranges) > 10
