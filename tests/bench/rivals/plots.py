"""The comparison as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.bench.charts import Line, Panel, draw
from tests.bench.rivals.comparison import Comparison, frontier
from tests.bench.rivals.scenarios import FRAMES, Row
from tests.bench.rivals.systems import OURS, PARAMETERS

_ERRORS = {"added_joint_error_mm": "added joint error, mm", "added_chamfer_mm": "added Chamfer distance, mm"}


def draw_all(folder: Path, comparison: Comparison, scenario_a: Sequence[Row], scenario_b: Sequence[Row]) -> None:
    """Writes `rivals-curves.png`, `rivals-scenario-a.png` and `rivals-scenario-b.png` into a folder.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    draw(folder / "rivals-curves.png", curves(comparison))
    draw(folder / "rivals-scenario-a.png", models_panels(scenario_a))
    draw(folder / "rivals-scenario-b.png", bandwidth_panels(scenario_b))


def curves(comparison: Comparison) -> list[Panel]:
    """Bytes a frame over what coding adds to the joints: all systems, then Bodywire and the codes of parameters."""
    close = [family for family in comparison.families if family == OURS or family in PARAMETERS]
    return [
        _curves("all systems", comparison, comparison.families, "added_joint_error_mm"),
        _curves("codes of the body's parameters", comparison, close, "added_joint_error_mm"),
        _curves("the same, added Chamfer distance", comparison, close, "added_chamfer_mm"),
    ]


def _curves(title: str, comparison: Comparison, families: Sequence[str], key: str) -> Panel:
    lines = {}
    for family in families:
        figures = [comparison.figures[setting] for setting in comparison.settings(family)]
        points = [(figure["bytes_per_frame"], figure[key]) for figure in figures if key in figure]
        sizes, errors = np.array(frontier(points)).T
        lines[family] = Line(errors, sizes)
    return Panel(title, _ERRORS[key], "bytes a frame", lines, log_x=True, log_y=True)


def models_panels(rows: Sequence[Row]) -> list[Panel]:
    """Scenario A over the number of models: total time, and the part in which the link is busy."""
    kbps = rows[0]["kbps"] if rows else 0
    title = f"scenario A: pictures of different people to meshes over a link of {kbps:g} kbit/s"
    return [
        Panel(title, "models", "total time, s", _by_system(rows, "models", "total_s"), log_x=True, log_y=True),
        Panel("time of the link", "models", "s", _by_system(rows, "models", "link_s"), log_x=True, log_y=True),
    ]


def bandwidth_panels(rows: Sequence[Row]) -> list[Panel]:
    """Scenario B over the capacity of the link: times and error."""
    panels = (
        (f"scenario B: {FRAMES} frames, from the first frame's capture to the last mesh", "total_s", "s"),
        (f"time that the link needs for {FRAMES} frames", "link_s", "s"),
        ("live: age of a mesh, 95th percentile", "age_p95_ms", "ms"),
        ("error that coding adds to the joints", "added_joint_error_mm", "mm"),
    )
    return [
        Panel(title, "kbit/s", unit, _by_system(rows, "kbps", key), log_x=True, log_y=unit != "mm")
        for title, key, unit in panels
    ]


def _by_system(rows: Sequence[Row], x: str, y: str) -> dict[str, Line]:
    lines = {}
    for system in dict.fromkeys(str(row["system"]) for row in rows):
        points = [(row[x], row[y]) for row in rows if row["system"] == system]
        lines[system] = Line(*np.array(points, np.float64).T)
    return lines
