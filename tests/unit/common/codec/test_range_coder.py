import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.range_coder import SymbolReader, SymbolWriter
from common.codec.tables import SCALES, load


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
