"""Figures of several systems as charts, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from common.errors import OutputError, UsageError

# Inches.
_WIDTH, _HEIGHT, _STACKED_HEIGHT = 10.0, 3.6, 1.7
# Enough for lines and their edges; the files are a third.
_COLOURS = 64
# More are samples of a time, neither marked nor named.
_MOST_TICKS = 24

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""Points of each line."""


def draw(path: Path, title: str, x: str, panels: Mapping[str, Lines], *, stacked: bool = False) -> None:
    """Draws lines over a common x: logarithmic, unless there are many points.

    Args:
        panels: label of y → lines.
        stacked: panels one above the other, from 0; otherwise they are side by side, and logarithmic.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter
    except ImportError as error:
        raise UsageError("charts need matplotlib: pip install 'bodywire[bench]'") from error
    count = len(panels)
    figure = Figure(figsize=(_WIDTH, _STACKED_HEIGHT * count if stacked else _HEIGHT), layout="constrained")
    figure.suptitle(title)
    rows, columns = (count, 1) if stacked else (1, count)
    every = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    ticks = sorted({place for lines in panels.values() for points in lines.values() for place, _ in points})
    many = len(ticks) > _MOST_TICKS
    for axes, (y, lines) in zip(every, panels.items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="" if many else "o", markersize=4, label=name)
        axes.set(ylabel=y, xscale="linear" if many else "log", yscale="linear" if stacked else "log")
        axes.grid(alpha=0.3)
        if stacked:
            axes.set_ylim(bottom=0)
        else:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in every[-columns:]:
        axes.set(xlabel=x)
        if not many:
            axes.set(xticks=ticks, xticklabels=[f"{tick:g}" for tick in ticks])
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        Image.open(path).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
