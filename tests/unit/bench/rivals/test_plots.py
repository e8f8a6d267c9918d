"""Panels of the comparison."""

from pathlib import Path

import pytest

from common.errors import OutputError
from tests.bench.rivals.comparison import Comparison
from tests.bench.rivals.plots import bandwidth_panels, curves, models_panels, write_png
from tests.bench.rivals.scenarios import MODELS, Row
from tests.bench.rivals.systems import Result
from tests.bench.svg import svg
from tests.support.chromium import CHROMIUM


def comparison() -> Comparison:
    points = {"bodywire": ((60, 1.0), (30, 8.0)), "delta + zstd": ((150, 1.0), (160, 2.0), (80, 9.0))}
    clip = [
        Result(
            family,
            f"{family}, {size}",
            (size,),
            {"bytes_per_frame": float(size), "added_joint_error_mm": error, "added_chamfer_mm": error, "mpjpe_mm": 80},
        )
        for family, settings in points.items()
        for size, error in settings
    ]
    return Comparison.of([clip], [{"mpjpe_mm": 80.0}])


def test_curves_leave_out_settings_that_a_cheaper_one_beats() -> None:
    everything = curves(comparison())[0]
    assert list(everything.lines) == ["bodywire", "delta + zstd"]
    assert sorted(everything.lines["delta + zstd"].y) == [80, 150]


def test_scenarios_have_a_line_for_each_system() -> None:
    a: list[Row] = [{"system": "x", "models": count, "kbps": 1000.0, "total_s": count / 2} for count in MODELS]
    (panel,) = models_panels(a)
    assert list(panel.lines["x"].x) == list(MODELS)
    row: Row = {"kbps": 10.0, "total_s": 11.0, "link_s": 4.0, "age_p95_ms": 90.0, "added_joint_error_mm": 3.0}
    panels = bandwidth_panels([{**row, "system": name} for name in ("x", "y")])
    assert all(list(panel.lines) == ["x", "y"] for panel in panels)


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed; make test installs it")
def test_png_is_drawn(tmp_path: Path) -> None:
    write_png(tmp_path / "curves.png", svg(curves(comparison())))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_png_without_chromium_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.rivals.plots.CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="make system-packages"):
        write_png(tmp_path / "curves.png", "<svg/>")
