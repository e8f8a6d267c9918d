"""Frequency tables are distributions, and symbols cost about what their Gaussians say."""

import numpy as np
import pytest

from common.codec.range_coder import SymbolReader, SymbolWriter
from common.codec.tables import SYMBOLS
from common.picture_codec.network import SCALES, log_scales
from common.picture_codec.tables import PictureTables, frequencies_of, latent_frequencies, low_bits


@pytest.fixture(scope="module")
def tables() -> PictureTables:
    uniform = frequencies_of(np.full((2, SYMBOLS - 1), 1 / SYMBOLS))
    return PictureTables(np.concatenate([latent_frequencies(), uniform]))


@pytest.mark.parametrize("scale", [4, 20, 33, 45, SCALES - 1])
def test_symbols_cost_the_entropy_of_their_scale(tables: PictureTables, scale: int) -> None:
    deviation = float(np.exp(log_scales()[scale].item()))
    values = np.rint(np.random.default_rng(scale).normal(0, deviation, 4000)).astype(np.int64)
    rows = np.full(len(values), scale)
    writer = SymbolWriter(tables)
    writer.residuals(rows, low_bits(rows), values)
    data = writer.finish()
    np.testing.assert_array_equal(SymbolReader(tables, data).residuals(rows, low_bits(rows), None), values)
    if deviation > 1:
        assert 8 * len(data) / len(values) == pytest.approx(np.log2(deviation * np.sqrt(2 * np.pi * np.e)), abs=0.06)


def test_impossible_tables_are_refused() -> None:
    for frequencies in (np.ones((3, SYMBOLS), np.int64), np.zeros((SCALES + 1, SYMBOLS), np.int64)):
        with pytest.raises(ValueError, match="frequencies"):
            PictureTables(frequencies)
