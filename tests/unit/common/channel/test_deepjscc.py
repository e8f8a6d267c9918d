"""The baseline."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from common.channel.deepjscc import KIND, DeepJscc, DeepJsccConfig, architecture, load_network
from common.errors import WeightsError
from common.weights.loader import save_weights


def test_uses_as_many_symbols_as_its_rate_says_at_mean_power_one() -> None:
    network = DeepJscc(DeepJsccConfig(width=4, symbols=2))
    with torch.no_grad():
        symbols = network.encode(torch.rand(2, 3, 32, 48))
        assert network.decode(symbols, (32, 48)).shape == (2, 3, 32, 48)
    assert network.config.rate == Fraction(1, 24)
    assert symbols.shape == (2, network.config.rate * 3 * 32 * 48)
    assert torch.allclose(symbols.abs().square().mean(1), torch.ones(2), rtol=1e-4)


def test_weights_are_read_back(tmp_path: Path) -> None:
    network = DeepJscc(DeepJsccConfig(width=4))
    save_weights(
        KIND, network.state_dict(), architecture(network.config), {}, {}, storage="float32", directory=tmp_path
    )
    again = load_network(KIND, tmp_path)
    assert again.config == network.config
    assert torch.equal(again.state_dict()["encoder.0.weight"], network.state_dict()["encoder.0.weight"])


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_weights(KIND, {}, {"kind": "image_channel"}, {}, {}, directory=tmp_path)
    with pytest.raises(WeightsError, match="another version"):
        load_network(KIND, tmp_path)
