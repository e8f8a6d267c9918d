"""Separation with a real code: which schemes are tried, blocks above and below the threshold, and what is missing."""

import pytest
import torch

from tests.bench.channel import separation
from tests.bench.channel.separation import Blocks, Scheme, missing_sionna, send_file


def test_schemes_are_tried_from_the_most_efficient_one_below_capacity() -> None:
    efficiencies = [scheme.efficiency for scheme in separation._schemes(2.0)]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert efficiencies[0] == pytest.approx(2.0) and min(efficiencies) == pytest.approx(0.7)


def test_missing_sionna_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separation, "find_spec", lambda _: None)
    assert missing_sionna() == "sionna is not installed: pip install -e '.[bench]'"


def test_blocks_arrive_above_the_threshold_of_the_code_alone() -> None:
    pytest.importorskip("sionna")
    generator = torch.Generator().manual_seed(0)
    blocks = Blocks(400, Scheme(2, 0.5))
    assert blocks.uses == 400
    # A rate of 1 bit a symbol needs 0 dB at capacity.
    assert blocks.lost(4, 4.0, generator) == 0 and blocks.lost(4, -2.0, generator) == 4
    # 9,000 bits are three blocks of 3,000.
    assert send_file(9000, Scheme(4, 0.5), 12.0, generator) == (3 * 1500, True)
