import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.load.__main__ import main
from tests.bench.load.overload import fair_share, fairness
from tests.bench.load.soak import COLUMNS, trend
from tests.netlab.crowd import Records


def test_fairness_is_one_for_equal_shares_and_falls_to_that_of_one_who_has_all() -> None:
    assert fairness([3.0] * 5) == pytest.approx(1.0)
    assert fairness([3.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("demands", "capacity", "share"),
    [([10, 10, 10], 15, 5), ([1, 10, 10], 15, 7), ([1, 2, 100], 15, 12), ([1, 2, 3], 15, 3)],
)
def test_fair_share_leaves_to_others_what_somebody_does_not_want(
    demands: list[float], capacity: float, share: float
) -> None:
    assert fair_share(demands, capacity) == pytest.approx(share)


def rows(per_hour: float, alike: float = 0.0, samples: int = 60) -> list[dict[str, Any]]:
    """Two pieces, of ten minutes each, with levels of their own, and noise of 1 MB whose neighbours may be alike."""
    rng, noise, made = np.random.default_rng(1), 0.0, []
    for piece, level in ((1, 600.0), (2, 640.0)):
        for hours in np.arange(samples) / 360:
            noise = alike * noise + float(rng.normal()) * (1 - alike**2) ** 0.5
            # Memory of the start, which the trend leaves out.
            start = 100.0 if hours < 0.04 else 0.0
            made.append({"piece": piece, "hours": hours, "mb": level + start + per_hour * hours + noise})
    return made


def test_trend_finds_a_slope_over_pieces_with_its_error() -> None:
    found = trend(rows(40.0), "mb")
    assert abs(found.per_hour - 40) < 3 * found.error < 15
    assert found.grows
    assert not trend(rows(0.0), "mb").grows


def test_trend_is_less_sure_where_neighbours_are_alike() -> None:
    alike, others = (trend(rows(0.0, share, 400), "mb").error for share in (0.9, 0.0))
    assert alike > 2 * others


def test_soak_of_no_minutes_shows_what_was_measured_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    more = {**dict.fromkeys(COLUMNS, 5.0), "frames": 3, "answers": {}, "said": {}}
    state.write_text("".join(json.dumps({**row, **more}) + "\n" for row in rows(0.0)))
    before = state.read_bytes()
    assert main(["soak", "--state", str(state), "--minutes", "0"]) == 0
    assert "in 2 pieces, 360 frames" in capsys.readouterr().out
    assert state.read_bytes() == before


def test_records_of_a_file_without_deleted_sessions_are_read_once(tmp_path: Path) -> None:
    path, records = tmp_path / "frames.jsonl", Records(tmp_path)

    def line(number: int) -> str:
        return json.dumps({"captured_at": float(number), "padding": "x" * 1_000_000}) + "\n"

    assert records.new() == []
    path.write_text("".join(map(line, range(20))))
    records.new()
    with path.open("a") as file:
        file.write(line(20))
    assert [record["captured_at"] for record in records.new()] == [20.0]
    (tmp_path / "copy").write_text("".join(map(line, range(10, 23))))
    (tmp_path / "copy").replace(path)
    assert [record["captured_at"] for record in records.new()] == [21.0, 22.0]
