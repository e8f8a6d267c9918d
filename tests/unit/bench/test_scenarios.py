"""The tables of the scenarios, of one run and of two."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.scenarios.__main__ import main
from tests.bench.scenarios.tables import Run, tables

_A = {"bytes_per_mesh": 5460.4, "delay_p50_s": 1.2, "delay_p95_s": 1.5, "view_mse": 0.0076, "view_ssim": 0.905}
_B = {"age_p50_ms": 150.0, "age_p95_ms": 200.0, "shown_error_mm": 90.0, "kbps": 19.0}


def run(total_s: float, mpjpe_mm: float | None) -> Run:
    last: dict[str, Any] = {"system": "bodywire", "models": 64, "total_s": total_s, "mpjpe_mm": mpjpe_mm, **_A}
    first: dict[str, Any] = {"system": "bodywire", "models": 1, "total_s": 1.0, "bytes_per_mesh": 9000.0}
    return {
        "scenario_a": [first, last],
        "scenario_b": [{"system": "bodywire", "capacity_kbps": kbps, **_B} for kbps in (400, 150, 50)],
    }


def test_two_runs_give_the_range_of_each_figure() -> None:
    lines = [
        [cell.strip() for cell in line.split("|")] for line in tables([run(33.0, 62.7), run(32.5, 62.7)]).splitlines()
    ]
    assert lines[2][1:6] == ["bodywire", "5,460", "32.5–33.0 s", "1.20; 1.50 s", "62.7 mm"]
    assert lines[4][1:4] == ["B", "400 kbit/s", "50 kbit/s"]
    assert lines[6][2] == "150; 200 ms, 90 mm, 19 kbit/s"


def test_figure_that_no_run_has_is_not_a_number() -> None:
    assert "| nan mm |" in tables([run(33.0, None)])


def test_file_without_figures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text('{"systems": {}}')
    assert main(["--of", str(tmp_path / "other.json")]) == 2
    assert "has no figures of the scenarios" in capsys.readouterr().err
