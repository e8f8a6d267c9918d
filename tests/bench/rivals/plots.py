"""The comparison as pictures: SVG, and PNG as Chromium draws it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Error, sync_playwright

from common.errors import OutputError
from tests.bench.equal_rate import frontier
from tests.bench.rivals.comparison import Comparison
from tests.bench.rivals.scenarios import FRAMES, Row
from tests.bench.rivals.systems import OURS, PARAMETERS
from tests.bench.svg import Line, Panel, svg, write_svg
from tests.support.chromium import CHROMIUM, FLAGS

_HEIGHT = 340
_SCALE = 1.5


def draw(folder: Path, comparison: Comparison, scenario_a: Sequence[Row], scenario_b: Sequence[Row]) -> list[Path]:
    """Writes `rivals-curves`, `rivals-scenario-a` and `rivals-scenario-b` into a folder, as SVG and PNG.

    Raises:
        OutputError: a file cannot be written, or Chromium is missing.
    """
    pictures = {
        "rivals-curves": curves(comparison),
        "rivals-scenario-a": models_panels(scenario_a),
        "rivals-scenario-b": bandwidth_panels(scenario_b),
    }
    written = []
    for name, panels in pictures.items():
        write_svg(folder / f"{name}.svg", panels)
        write_png(folder / f"{name}.png", svg(panels))
        written += [folder / f"{name}.svg", folder / f"{name}.png"]
    return written


def curves(comparison: Comparison) -> list[Panel]:
    """Bytes a frame over what coding adds to the joints: all systems, then Bodywire and the codes of parameters."""
    everything = _curves("all systems", comparison, comparison.families, "added_joint_error_mm")
    close = [family for family in comparison.families if family == OURS or family in PARAMETERS]
    return [
        everything,
        _curves("codes of the body's parameters", comparison, close, "added_joint_error_mm"),
        _curves("the same, added Chamfer distance", comparison, close, "added_chamfer_mm"),
    ]


def _curves(title: str, comparison: Comparison, families: Sequence[str], key: str) -> Panel:
    lines = {}
    for family in families:
        figures = [comparison.figures[setting] for setting in comparison.settings(family)]
        points = [(figure["bytes_per_frame"], figure[key]) for figure in figures if key in figure]
        sizes, errors = np.array(frontier(points)).T
        lines[family] = Line(errors, sizes, marked=True)
    name = {"added_joint_error_mm": "added joint error, mm", "added_chamfer_mm": "added Chamfer distance, mm"}[key]
    return Panel(title, name, "bytes a frame", "", lines, log_x=True, log_y=True, height=_HEIGHT)


def models_panels(rows: Sequence[Row]) -> list[Panel]:
    """Scenario A: total time over the number of models."""
    kbps = rows[0]["kbps"] if rows else 0
    lines = _by_system(rows, "models", "total_s")
    title = f"scenario A: pictures of different people to meshes over a link of {kbps:g} kbit/s"
    return [Panel(title, "models", "total time, s", "", lines, log_x=True, log_y=True, height=_HEIGHT)]


def bandwidth_panels(rows: Sequence[Row]) -> list[Panel]:
    """Scenario B: time and error over the capacity of the link."""

    def panel(title: str, key: str, name: str, log_y: bool = True) -> Panel:
        lines = _by_system(rows, "kbps", key)
        return Panel(title, "kbit/s", name, "", lines, log_x=True, log_y=log_y, height=_HEIGHT)

    return [
        panel(f"scenario B: {FRAMES} frames, from the first frame's capture to the last mesh", "total_s", "s"),
        panel(f"time that the link needs for {FRAMES} frames", "link_s", "s"),
        panel("live: age of a mesh, 95th percentile", "age_p95_ms", "ms"),
        panel("error that coding adds to the joints", "added_joint_error_mm", "mm", log_y=False),
    ]


def _by_system(rows: Sequence[Row], x: str, y: str) -> dict[str, Line]:
    lines = {}
    for system in dict.fromkeys(str(row["system"]) for row in rows):
        points = [(row[x], row[y]) for row in rows if row["system"] == system]
        across, up = np.array(points, np.float64).T
        lines[system] = Line(across, up, marked=True)
    return lines


def write_png(path: Path, picture: str) -> None:
    """Draws SVG text with Chromium.

    Raises:
        OutputError: Chromium is missing, or the file cannot be written.
    """
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
            page = browser.new_page(device_scale_factor=_SCALE)
            page.set_content(f'<body style="margin:0;background:white">{picture}</body>')
            page.locator("svg").screenshot(path=path)
            browser.close()
    except Error as error:
        first_line = str(error).splitlines()[0]
        raise OutputError(f"cannot draw {path}: {first_line} (make system-packages installs Chromium)") from error
