import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec.tables import load, save
from common.errors import WeightsError
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
