"""Line charts as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from common.arrays import Float64Array
from common.errors import OutputError

_WIDTH, _HEIGHT, _MARGIN, _LEGEND = 900, 240, 60, 110
_COLOURS = ("#1b6ca8", "#d1495b", "#8a6f9e", "#2e933c", "#b07d2b", "#555555")
_GREY = "#c9c9c9"
_TICKS = 5


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a panel.

    Args:
        x, y: (N,) its points.
        right: drawn as a grey area behind the other lines, with the scale on the right.
    """

    x: Float64Array
    y: Float64Array
    right: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """A chart: lines over one axis, with a scale on the left and optionally one on the right."""

    title: str
    x_name: str
    left_name: str
    right_name: str
    lines: Mapping[str, Line]


def write_svg(path: Path, panels: Sequence[Panel]) -> None:
    """Writes panels into one image, one below the other.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg(panels), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def svg(panels: Sequence[Panel]) -> str:
    """The image as SVG text."""
    height = _HEIGHT + _MARGIN
    body = "".join(
        f'<g transform="translate({_MARGIN},{index * height + _MARGIN / 2})">{_panel(panel)}</g>'
        for index, panel in enumerate(panels)
    )
    size = f'width="{_WIDTH + 2 * _MARGIN + _LEGEND}" height="{len(panels) * height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">{body}</svg>\n'


def _panel(panel: Panel) -> str:
    behind = [(name, line) for name, line in panel.lines.items() if line.right]
    before = [(name, line) for name, line in panel.lines.items() if not line.right]
    all_x = np.concatenate([line.x for line in panel.lines.values()])
    first, last = (float(all_x.min()), float(all_x.max())) if len(all_x) else (0.0, 1.0)
    x_span = (first, last if last > first else first + 1.0)
    left_top, right_top = _top([line for _, line in before]), _top([line for _, line in behind])
    parts = [f'<text x="0" y="-6" font-weight="bold">{escape(panel.title)}</text>']
    for index, (name, line) in enumerate([*behind, *before]):
        colour = _GREY if line.right else _COLOURS[(index - len(behind)) % len(_COLOURS)]
        parts.append(_draw(line, colour, x_span, right_top if line.right else left_top))
        parts.append(f'<text x="{_WIDTH + 50}" y="{12 + 14 * index}" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="black"/>')
    for tick in range(_TICKS + 1):
        x, y, share = tick * _WIDTH / _TICKS, _HEIGHT * (1 - tick / _TICKS), tick / _TICKS
        parts.append(_label(x, _HEIGHT + 14, "middle", round(x_span[0] + share * (x_span[1] - x_span[0]), 1)))
        parts.append(_label(-4, y + 4, "end", share * left_top))
        parts += [_label(_WIDTH + 4, y + 4, "start", share * right_top)] if behind else []
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 26}" text-anchor="middle">{escape(panel.x_name)}</text>')
    names = escape(panel.left_name) + (f" (grey: {escape(panel.right_name)})" if behind else "")
    parts.append(f'<text x="{_WIDTH}" y="-6" text-anchor="end">{names}</text>')
    return "".join(parts)


def _top(lines: Sequence[Line]) -> float:
    """The end of a scale that has round ticks."""
    highest = max((float(line.y.max()) for line in lines if len(line.y)), default=0.0)
    if highest <= 0:
        return 1.0
    step = highest / _TICKS
    power = 10.0 ** np.floor(np.log10(step))
    return float(_TICKS * power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= step))


def _draw(line: Line, colour: str, x_span: tuple[float, float], top: float) -> str:
    x = (line.x - x_span[0]) / (x_span[1] - x_span[0]) * _WIDTH
    y = _HEIGHT * (1 - line.y / top)
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
    if not line.right or not len(x):
        return f'<polyline points="{points}" fill="none" stroke="{colour}"/>'
    return f'<polygon points="{x[0]:.1f},{_HEIGHT} {points} {x[-1]:.1f},{_HEIGHT}" fill="{colour}" opacity="0.5"/>'


def _label(x: float, y: float, anchor: str, value: float) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{value:.4g}</text>'
