"""The figures of a scenario's runs."""

from pathlib import Path

import pytest

from tests.bench.report import table
from tests.bench.scenarios.__main__ import main, ranges


def test_two_runs_give_the_range_of_each_figure() -> None:
    runs = [
        {"scenario_a": [{"system": "bodywire", "models": 64, "total_s": total_s, "mpjpe_mm": 62.7, "view_mse": mse}]}
        for total_s, mse in ((33.0, 0.0076), (32.5, None))
    ]
    row = ranges(runs, "scenario_a", "models")["bodywire"][64]
    assert (row["total_s"], row["mpjpe_mm"]) == (32.75, 62.7)
    cells = [cell.strip() for cell in table({"bodywire": row}).splitlines()[2].split("|")]
    assert cells[1:-1] == ["bodywire", "32.50–33.00", "62.7", "–"]


def test_file_without_figures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text('{"systems": {}}')
    assert main(["--of", str(tmp_path / "other.json")]) == 2
    assert "has no figures of the scenarios" in capsys.readouterr().err
