"""The baseline."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from common.channel.state import ChannelState
from common.weights.loader import save_weights
from tests.bench.channel import deepjscc
from tests.bench.channel.deepjscc import DeepJscc, DeepJsccConfig
from tests.support.random_pictures import picture_flags
from tests.support.training_examples import train_on_gpu


def test_uses_as_many_symbols_as_its_rate_says_at_mean_power_one() -> None:
    network = DeepJscc(DeepJsccConfig(width=4, symbols=2))
    with torch.no_grad():
        symbols = network.encode(torch.rand(2, 3, 32, 48))
        assert network.decode(symbols, (32, 48)).shape == (2, 3, 32, 48)
    assert network.config.rate == Fraction(1, 24)
    assert symbols.shape == (2, network.config.rate * 3 * 32 * 48)
    assert torch.allclose(symbols.abs().square().mean(1), torch.ones(2), rtol=1e-4)


def test_trains_exports_and_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepjscc.DeepJsccTraining, "crop_px", 32)
    monkeypatch.setattr(deepjscc, "DeepJsccConfig", lambda: DeepJsccConfig(4, 2))
    train_on_gpu(monkeypatch, deepjscc.DeepJsccTraining, tmp_path, *picture_flags(tmp_path))
    monkeypatch.undo()
    save_weights("other", {}, {"kind": "image_channel"}, {}, {}, directory=tmp_path / "weights")
    (network,) = deepjscc.trained([tmp_path / "weights"])
    assert network.config == DeepJsccConfig(4, 2)
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    arrived, ratio = deepjscc.send(network, picture, ChannelState(7.0), 0)
    assert arrived.shape == picture.shape and ratio == pytest.approx(1 / 24)
