"""Figures of several systems as charts, drawn by matplotlib."""

from collections.abc import Mapping
from pathlib import Path

from common.arrays import Float64Array
from common.errors import OutputError, UsageError

# Inches.
_SIZE = (10.0, 3.6)

Lines = Mapping[str, Float64Array]
"""(2, N) points of each line."""


def draw(path: Path, title: str, x: str, panels: Mapping[str, Lines]) -> None:
    """Draws lines over a common x, all axes logarithmic.

    Args:
        panels: label of y → lines.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("charts need matplotlib: pip install 'bodywire[bench]'") from error
    figure = Figure(figsize=_SIZE, layout="constrained")
    figure.suptitle(title)
    for axes, (y, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        for name, points in lines.items():
            axes.plot(*points, marker="o", markersize=4, label=name)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
