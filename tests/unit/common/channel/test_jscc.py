"""Joint source-channel coder: power, lengths, and the SNR of positions."""

import pytest
import torch

from common.channel.jscc import MIN_SNR_DB, JsccEncoder, length_mask, position_snr_db
from common.channel.state import LENGTHS, MAX_LENGTH
from common.imaging.entropy import Statistics


def encoded(lengths: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    y = torch.randn(1, 6, *lengths.shape[1:])
    statistics = Statistics(torch.zeros_like(y), torch.ones_like(y))
    with torch.no_grad():
        symbols: torch.Tensor = JsccEncoder(6, 16, 1)(y, statistics, torch.zeros(lengths.shape), lengths)
    return symbols


def test_mean_power_is_one_per_symbol_at_every_length() -> None:
    lengths = torch.tensor(LENGTHS)[None, :, None]
    energy = encoded(lengths).abs().square().sum(-1)
    assert torch.allclose(energy, lengths.float(), rtol=1e-4)


def test_no_symbol_is_sent_beyond_a_positions_length() -> None:
    lengths = torch.tensor([[[4, 48]]])
    symbols = encoded(lengths)
    assert symbols.shape == (1, 1, 2, MAX_LENGTH)
    assert not symbols[~length_mask(lengths)].any()
    assert symbols[length_mask(lengths)].all()


def test_snr_of_a_position_is_that_of_equal_symbols() -> None:
    snr = torch.full((1, 1, 1, MAX_LENGTH), 10.0)
    assert float(position_snr_db(snr, torch.tensor([[[8]]]))) == pytest.approx(10.0, abs=1e-3)


def test_snr_of_a_position_falls_with_lost_symbols_and_has_a_floor() -> None:
    snr = torch.full((1, 1, 2, MAX_LENGTH), 10.0)
    snr[0, 0, 0, :4] = 0.0
    snr[0, 0, 1] = 0.0
    half, none = position_snr_db(snr, torch.tensor([[[8, 8]]])).flatten().tolist()
    # Half of the symbols have error 1, half 1/11: mean 6/11, so SNR 5/6.
    assert half == pytest.approx(10 * torch.log10(torch.tensor(5 / 6)).item(), abs=1e-3)
    assert none == MIN_SNR_DB
