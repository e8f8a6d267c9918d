import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.range_coder import SymbolReader, SymbolWriter
from common.codec.tables import SCALES, SYMBOLS, load


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60), magnitude=st.sampled_from([1, 20, 3_000, 4_000_000]))
def test_round_trip_of_random_residuals(seed: int, count: int, magnitude: int) -> None:
    rng, tables = np.random.default_rng(seed), load()
    values = rng.integers(-magnitude, magnitude + 1, count)
    scale, shift = rng.integers(0, SCALES, count), rng.integers(0, 12, count)
    writer = SymbolWriter(tables)
    writer.rare_flag(seed % 2 == 0)
    writer.residuals(scale, shift, values)
    writer.uniform(5, 64)
    writer.choice(2, (3, 6, 3, 4))
    writer.number(count)
    reader = SymbolReader(tables, writer.finish())
    assert reader.rare_flag(None) == (seed % 2 == 0)
    np.testing.assert_array_equal(reader.residuals(scale, shift, None), values)
    assert reader.uniform(None, 64) == 5
    assert reader.choice(None, (3, 6, 3, 4)) == 2
    assert reader.number(None) == count
    assert reader.bits == pytest.approx(writer.bits)


def test_coder_uses_the_exact_integer_frequencies() -> None:
    # The first symbol's interval, read back from the coder's state, is its 24-bit integer frequency.
    tables = load()
    family = constriction.stream.model.Categorical(perfect=False)
    slack = (1 << 24) - SYMBOLS
    for row in range(0, SCALES, 7):
        cumulative = np.concatenate([[0], np.cumsum(tables.frequencies[row])])
        expected = np.diff((cumulative * slack >> 16) + np.arange(SYMBOLS + 1))
        expected[-1] = (1 << 24) - expected[:-1].sum()
        for symbol in range(SYMBOLS):
            coder = constriction.stream.queue.RangeEncoder()
            coder.encode(np.array([symbol], dtype=np.int32), family, tables.probabilities[row : row + 1])
            words, (_, span) = coder.pos()
            scale = ((1 << 64) - 1) >> 24
            assert span >> 32 * words == 0 or words == 0
            assert span == scale * int(expected[symbol]) * (1 << 32 * words)
