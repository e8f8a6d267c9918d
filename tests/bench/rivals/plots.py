"""The comparison as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.bench.charts import Line, Panel, draw
from tests.bench.rivals.comparison import Comparison, frontier
from tests.bench.rivals.scenarios import Row


def draw_all(folder: Path, comparison: Comparison, scenario_a: Sequence[Row], scenario_b: Sequence[Row]) -> None:
    """Writes `rivals-curves.png`, `rivals-scenario-a.png` and `rivals-scenario-b.png` into a folder.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    for name, panel in (
        ("curves", curves(comparison)),
        ("scenario-a", models_panel(scenario_a)),
        ("scenario-b", bandwidth_panel(scenario_b)),
    ):
        draw(folder / f"rivals-{name}.png", [panel])


def curves(comparison: Comparison) -> Panel:
    """Bytes a frame of all systems over what coding adds to the joints."""
    lines = {}
    for family in comparison.families:
        figures = [comparison.figures[setting] for setting in comparison.settings(family)]
        points = frontier([(figure["bytes_per_frame"], figure["added_joint_error_mm"]) for figure in figures])
        sizes, errors = np.array(points).T
        lines[family] = Line(errors, sizes)
    return Panel("all systems", "added joint error, mm", "bytes a frame", lines, log_x=True, log_y=True)


def models_panel(rows: Sequence[Row]) -> Panel:
    """Scenario A: total time over the number of models."""
    title = f"scenario A: pictures of different people to meshes over {rows[0]['kbps'] if rows else 0:g} kbit/s"
    return Panel(title, "models", "total time, s", _by_system(rows, "models", "total_s"), log_x=True, log_y=True)


def bandwidth_panel(rows: Sequence[Row]) -> Panel:
    """Scenario B: age of a mesh over the capacity of the link."""
    lines = _by_system(rows, "kbps", "age_p95_ms")
    return Panel("scenario B: age of a live mesh", "kbit/s", "95th percentile, ms", lines, log_x=True, log_y=True)


def _by_system(rows: Sequence[Row], x: str, y: str) -> dict[str, Line]:
    lines = {}
    for system in dict.fromkeys(str(row["system"]) for row in rows):
        points = [(row[x], row[y]) for row in rows if row["system"] == system]
        lines[system] = Line(*np.array(points, np.float64).T)
    return lines
