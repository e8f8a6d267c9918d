"""The comparison as pictures, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.arrays import Float64Array
from common.errors import OutputError, UsageError
from tests.bench.rivals.comparison import Comparison, frontier
from tests.bench.rivals.scenarios import Row

# Inches.
_SIZE = (10.0, 3.6)

Lines = Mapping[str, Float64Array]
"""(2, N) points of each line."""


def draw_all(folder: Path, comparison: Comparison, scenario_a: Sequence[Row], scenario_b: Sequence[Row]) -> None:
    """Writes `rivals-curves.png`, `rivals-scenario-a.png` and `rivals-scenario-b.png` into a folder.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    kbps = scenario_a[0]["kbps"] if scenario_a else 0
    title_a = f"scenario A: pictures of different people to meshes over {kbps:g} kbit/s"
    age = by_system(scenario_b, "kbps", "age_p95_ms")
    for name, title, x, y, lines in (
        ("curves", "all systems", "added joint error, mm", "bytes a frame", curves(comparison)),
        ("scenario-a", title_a, "models", "total time, s", by_system(scenario_a, "models", "total_s")),
        ("scenario-b", "scenario B: age of a live mesh", "kbit/s", "95th percentile, ms", age),
    ):
        _draw(folder / f"rivals-{name}.png", title, x, y, lines)


def _draw(path: Path, title: str, x: str, y: str, lines: Lines) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("charts need matplotlib: pip install 'bodywire[bench]'") from error
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y, xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    for name, points in lines.items():
        axes.plot(*points, marker="o", markersize=4, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1.08, 0.5), fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def curves(comparison: Comparison) -> Lines:
    """Bytes a frame of all systems over what coding adds to the joints."""
    lines = {}
    for family in comparison.families:
        figures = [comparison.figures[setting] for setting in comparison.settings(family)]
        points = frontier([(figure["bytes_per_frame"], figure["added_joint_error_mm"]) for figure in figures])
        lines[family] = np.array(points).T[::-1]
    return lines


def by_system(rows: Sequence[Row], x: str, y: str) -> Lines:
    """Points of each system of a scenario."""
    names = dict.fromkeys(str(row["system"]) for row in rows)
    return {name: np.array([(row[x], row[y]) for row in rows if row["system"] == name], np.float64).T for name in names}
