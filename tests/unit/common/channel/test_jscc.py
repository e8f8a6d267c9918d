"""Joint source-channel coder: lengths of positions, power, order of sending, and the SNR of positions."""

import pytest
import torch

from common.channel.image_codec import (
    MIN_SNR_DB,
    JsccEncoder,
    allocated_lengths,
    gathered,
    length_mask,
    position_order,
    position_snr_db,
    scattered,
)
from common.channel.state import LENGTHS, MAX_LENGTH
from common.imaging.entropy import Statistics


def random_errors() -> torch.Tensor:
    """(3, len(LENGTHS), 12, 16) errors that fall with the length, faster where they begin higher."""
    start = torch.rand(3, 1, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).square()
    return start * 2.0 ** (-torch.tensor(LENGTHS)[:, None, None] / 20)


def encoded(lengths: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    y = torch.randn(1, 6, *lengths.shape[1:])
    statistics = Statistics(torch.zeros_like(y), torch.ones_like(y))
    with torch.no_grad():
        symbols: torch.Tensor = JsccEncoder(6, 16, 1)(y, statistics, torch.zeros(lengths.shape), lengths)
    return symbols


def test_mean_length_of_each_picture_is_as_wanted_and_never_above() -> None:
    errors = random_errors()
    for wanted in ((8.0, 8.0, 8.0), (16.0, 48.0, 90.0)):
        lengths = allocated_lengths(errors, torch.tensor(wanted))
        means = lengths.float().mean((1, 2))
        assert (means <= torch.tensor(wanted)).all() and (means > 0.97 * torch.tensor(wanted)).all()
        for picture in range(3):
            by_error = lengths[picture].flatten()[errors[picture, 0].flatten().argsort()]
            assert (by_error.diff() >= 0).all(), "a larger error never gets fewer symbols"
    assert (allocated_lengths(errors, torch.full((3,), 1.0)) == LENGTHS[0]).all(), "the budget is too small"


def test_mean_power_is_one_per_symbol_and_none_is_sent_beyond_a_length() -> None:
    lengths = torch.tensor(LENGTHS)[None, :, None]
    symbols = encoded(lengths)
    assert torch.allclose(symbols.abs().square().sum(-1), lengths.float(), rtol=1e-4)
    assert symbols.shape == (1, len(LENGTHS), 1, MAX_LENGTH)
    assert not symbols[~length_mask(lengths)].any() and symbols[length_mask(lengths)].all()


def test_symbols_are_scattered_to_where_they_were_gathered() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 20, (1, 3, 5), generator=generator)
    symbols = torch.randn(1, 3, 5, MAX_LENGTH, generator=generator) * length_mask(lengths)
    assert torch.equal(scattered(gathered(symbols, lengths), lengths), symbols)
    order = position_order(100)
    assert torch.equal(order, position_order(100)) and torch.equal(order.sort().values, torch.arange(100))
    assert float(order.diff().abs().float().mean()) > 10, "neighbours are sent far apart"


def test_snr_of_a_position_falls_with_lost_symbols_and_has_a_floor() -> None:
    snr = torch.full((1, 1, 3, MAX_LENGTH), 10.0)
    snr[0, 0, 1, :4] = 0.0
    snr[0, 0, 2] = 0.0
    whole, half, none = position_snr_db(snr, torch.tensor([[[8, 8, 8]]])).flatten().tolist()
    assert whole == pytest.approx(10.0, abs=1e-3)
    # Half of the symbols have error 1, half 1/11: mean 6/11, so SNR 5/6.
    assert half == pytest.approx(10 * torch.log10(torch.tensor(5 / 6)).item(), abs=1e-3)
    assert none == MIN_SNR_DB
