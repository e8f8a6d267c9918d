"""Line charts, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import Float64Array
from common.errors import OutputError, UsageError

# Inches.
_WIDTH, _HEIGHT = 10.0, 3.6
# Lines of more points have no marks at them.
_MOST_MARKED = 40


@dataclass(frozen=True, eq=False)
class Line:
    """(N,) points of one line; with `right` an area behind the others, with the scale on the right."""

    x: Float64Array
    y: Float64Array
    right: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """A chart: lines by name over one axis, with a scale on the left and one on the right where a line needs it.

    Args:
        x_name, left_name, right_name: what the scales show, with units.
        log_x, log_y: whether the scales below and on the left are logarithmic.
    """

    title: str
    x_name: str
    left_name: str
    lines: Mapping[str, Line]
    right_name: str = ""
    log_x: bool = False
    log_y: bool = False


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """Draws panels into one image, one below the other, in the format that the file's name tells.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("charts need matplotlib: pip install 'bodywire[bench]'") from error
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(panels)), layout="constrained")
    for panel, axes in zip(panels, figure.subplots(len(panels), squeeze=False)[:, 0], strict=True):
        axes.set(title=panel.title, xlabel=panel.x_name, ylabel=panel.left_name)
        axes.set(xscale="log" if panel.log_x else "linear", yscale="log" if panel.log_y else "linear")
        axes.grid(alpha=0.3)
        for name, line in panel.lines.items():
            if line.right:
                right = axes.twinx()
                right.fill_between(line.x, line.y, color="0.85", label=name)
                right.set_ylabel(panel.right_name)
                right.set_zorder(axes.get_zorder() - 1)
                axes.patch.set_visible(False)
            else:
                axes.plot(line.x, line.y, marker="o" if len(line.x) <= _MOST_MARKED else None, markersize=4, label=name)
        axes.legend(loc="center left", bbox_to_anchor=(1.08, 0.5), fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
