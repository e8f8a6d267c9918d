"""Lengths of latent positions."""

import pytest
import torch

from common.channel.lengths import adapted_lengths, quantised_lengths, uniform_lengths
from common.channel.state import LENGTHS, MAX_LENGTH


def random_bits() -> torch.Tensor:
    return torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0)).square() * 300


def test_quantised_to_the_nearest_length() -> None:
    bits = torch.tensor([0.0, 5.9, 6.1, 27.0, 29.0, 1e6])
    assert quantised_lengths(bits, 1.0).tolist() == [4, 4, 8, 24, 32, MAX_LENGTH]


@pytest.mark.parametrize("mean_length", [8.0, 48.0, 90.0])
def test_mean_is_as_wanted_and_never_above(mean_length: float) -> None:
    lengths = adapted_lengths(random_bits(), torch.full((3,), mean_length)).float().mean((1, 2))
    assert (lengths <= mean_length).all()
    assert (lengths > 0.97 * mean_length).all()


def test_more_information_never_gets_fewer_symbols() -> None:
    bits = random_bits()
    lengths = adapted_lengths(bits, torch.full((3,), 48.0))
    for picture in range(3):
        ordered = lengths[picture].flatten()[bits[picture].flatten().argsort()]
        assert (ordered.diff() >= 0).all()


def test_symbols_grow_faster_than_information() -> None:
    bits = torch.tensor([[[10.0, 40.0]]])
    few, many = adapted_lengths(bits, torch.full((1,), 36.0)).flatten().tolist()
    assert (few, many) == (8, 64), "four times the information, eight times the symbols"


def test_each_picture_has_its_own_budget() -> None:
    lengths = adapted_lengths(random_bits(), torch.tensor([16.0, 48.0, 64.0])).float().mean((1, 2))
    assert lengths[0] < lengths[1] < lengths[2]


def test_smallest_length_where_the_budget_is_smaller() -> None:
    assert (adapted_lengths(random_bits(), torch.full((3,), 1.0)) == LENGTHS[0]).all()


def test_uniform_lengths_use_the_mean_rounded_down() -> None:
    lengths = uniform_lengths(random_bits(), torch.tensor([46.7, 48.0, 500.0]))
    assert [sorted(set(picture.flatten().tolist())) for picture in lengths] == [[46], [48], [MAX_LENGTH]]
