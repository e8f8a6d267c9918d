import json
from pathlib import Path

import numpy as np
import pytest

from common.codec.tables import LEVELS, RateDistortion, load_allocation, rho_levels
from common.errors import WeightsError
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS

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
