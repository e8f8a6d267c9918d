import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.range_coder import SymbolReader, SymbolWriter
from common.codec.tables import (
    LEVELS,
    SCALES,
    STEP_MULTIPLIER,
    RateDistortion,
    load,
    load_allocation,
    quantise,
    rho_levels,
    save,
    steps,
)
from common.errors import WeightsError
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, OPTIONAL_GROUPS
from common.training.fit_codec import default_tables


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    tables = default_tables()
    save(tables, tmp_path, "test")
    assert load(tmp_path).digest == tables.digest


def test_missing_damaged_and_other_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing or damaged"):
        load(tmp_path / "nowhere")
    for folder, file, content, message in (
        ("other", "tables.json", json.dumps({"version": 3, "sha256": "0" * 64}).encode(), "another version"),
        ("damaged", "tables.npz", b"PK\x03\x04 nonsense", "missing or damaged"),
    ):
        save(default_tables(), tmp_path / folder, "test")
        (tmp_path / folder / file).write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            load(tmp_path / folder)


def test_digest_depends_on_every_table() -> None:
    tables = default_tables()
    for name, values in tables.arrays().items():
        changed = values.copy()
        if name == "frequencies":
            changed[0, 24] -= 1
            changed[0, 25] += 1
        else:
            changed.flat[0] = 2 if changed.flat[0] == 1 else 1
        assert replace(tables, **{name: changed}).digest != tables.digest


@given(st.integers(1, 2**20), st.integers(1, 2**20))
def test_scale_of_one_is_that_of_an_array(spread: int, step: int) -> None:
    tables = default_tables()
    scale, shift = tables.scale_of(np.array([spread]), np.array([step]))
    assert tables.scale_of_one(spread, step) == (scale[0], shift[0])


def test_steps_grow_by_thirds_of_an_octave() -> None:
    ratios = np.array(STEP_MULTIPLIER) / 256
    np.testing.assert_allclose(ratios, 2.0 ** (np.arange(LEVELS) / 3), rtol=2e-3)
    assert (steps(np.ones(LABEL_SIZE, dtype=np.int64), np.zeros(len(GROUPS), dtype=np.int64)) == 1).all()


def test_quantisation_error_is_at_most_half_a_step() -> None:
    residual = np.random.default_rng(0).integers(-1_000_000, 1_000_000, 10_000)
    for step in (1, 2, 777, 65_536):
        error = residual - quantise(residual, np.full_like(residual, step)) * step
        assert 2 * np.abs(error).max() <= step


ANY = np.zeros(len(GROUP_NAMES), dtype=np.int64)


def bits_of(rho: dict[str, float]) -> float:
    """Mean bits of a frame without optional groups in the package's table."""
    bits = np.take_along_axis(load_allocation().bits, rho_levels(rho)[:, None], axis=1)[:, 0]
    return float(bits[~np.isin(GROUP_NAMES, OPTIONAL_GROUPS)].sum())


def test_budget_is_met_and_used() -> None:
    for budget_bits in (60.0, 100.0, 150.0, 220.0):
        assert 0.8 * budget_bits < bits_of(load_allocation().allocate(budget_bits, {}, ANY)) <= budget_bits
    assert set(load_allocation().allocate(0.0, {}, ANY).values()) == {1.0}, "no level meets the budget"


def test_weights_multiply_errors_not_their_squares() -> None:
    level = np.arange(LEVELS, dtype=np.float64)
    rows = len(GROUP_NAMES), 1
    # Each level costs as many bits, and doubles the error: four times the weight is two levels.
    table = RateDistortion(np.tile(8.0 * level[::-1], rows), np.tile(2.0**level, rows))
    rho = table.allocate(700.0, {"head": 4.0}, ANY)
    assert round((rho["torso"] - rho["head"]) * (LEVELS - 1)) == 2


def test_uncertain_group_is_not_coded_finely() -> None:
    table = load_allocation()
    finest = table.finest({"torso": 50.0, "head": 0.01})
    rho = table.allocate(1e9, {}, finest)
    assert rho["torso"] == pytest.approx(0.2)
    assert rho["head"] == rho["left_arm"] == 0.0


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"bits": {}, "mm": {}})])
def test_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(WeightsError, match="reinstall"):
        RateDistortion.load(tmp_path / "table.json")


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
