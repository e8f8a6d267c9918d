"""The baseline."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from common.errors import WeightsError
from common.weights.loader import save_weights
from tests.bench.channel import deepjscc
from tests.bench.channel.deepjscc import KIND, DeepJscc, DeepJsccConfig, load_network
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


def test_trains_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepjscc, "CROP_PX", 32)
    monkeypatch.setattr(deepjscc, "DeepJsccConfig", lambda symbols: DeepJsccConfig(4, symbols))
    flags = [*picture_flags(tmp_path), "--symbols", "2"]
    train_on_gpu(monkeypatch, deepjscc.DeepJsccTraining, tmp_path, *flags)
    monkeypatch.undo()
    assert load_network("deepjscc_24", tmp_path / "weights").config == DeepJsccConfig(4, 2)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_weights(KIND, {}, {"kind": "image_channel"}, {}, {}, directory=tmp_path)
    with pytest.raises(WeightsError, match="another version"):
        load_network(KIND, tmp_path)
