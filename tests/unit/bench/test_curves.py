"""Learning curves from logs."""

from pathlib import Path

import pytest

from common.errors import SourceError, UsageError
from tests.bench.curves import main, panel_of, read_logs

FIRST = """warning: something else
  0.50 min step 25 samples 800 27/s loss 9.5 heat 2.5
  1.00 min step 50 samples 1600 27/s loss 8.5 heat 2.0
  1.01 min step 50 validation pck10 0.600 mpjpe 120.000
"""
SECOND = "  0.50 min step 25 samples 800 27/s loss 8.0 heat 1.5\n  0.51 min step 25 validation pck10 0.650\n"


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "first.log", tmp_path / "second.log"]
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(text)
    return paths


def test_stages_follow_each_other(logs: list[Path]) -> None:
    terms, scores = read_logs(logs)
    assert terms["loss"] == [(800, 9.5), (1600, 8.5), (2400, 8.0)]
    assert scores == {"pck10": [(1600, 0.6), (2400, 0.65)], "mpjpe": [(1600, 120.0)]}
    line = panel_of("training", terms, ["heat"]).lines["heat"]
    assert (line.x.tolist(), line.y.tolist()) == ([0.8, 1.6, 2.4], [2.5, 2.0, 1.5])


def test_curve_that_is_not_there_is_named(logs: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"no depth in the logs; there are heat, loss"):
        panel_of("training", read_logs(logs)[0], ["heat", "depth"])


def test_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.log").write_text("nothing here\n")
    with pytest.raises(SourceError, match=r"text\.log has no steps"):
        read_logs([tmp_path / "text.log"])
    with pytest.raises(SourceError, match=r"cannot read .*missing\.log"):
        read_logs([tmp_path / "missing.log"])


def test_picture_is_written(logs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curves.svg"
    assert main([*map(str, logs), "--terms", "heat", "--scores", "pck10", "--out", str(out)]) == 0
    assert out.read_text().count("<polyline") == 2
    assert "2 panels" in capsys.readouterr().out
