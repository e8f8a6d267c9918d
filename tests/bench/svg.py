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
# Further lines have these colours, dashed.
_DASHES = "5 3"
_LETTER = 6.0
_GREY = "#c9c9c9"
_TICKS = 5
# Linear axes have their ticks at the measurements up to this number.
_MOST_MEASURED = 8


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a panel.

    Args:
        x, y: (N,) its points.
        right: drawn as a grey area behind the other lines, with the scale on the right.
        marked: whether its points are marked.
    """

    x: Float64Array
    y: Float64Array
    right: bool = False
    marked: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """A chart: lines over one axis, with a scale on the left and optionally one on the right.

    Args:
        title: above the chart.
        x_name, left_name, right_name: what the scales show, with units.
        lines: by name.
        log_x, log_y: whether the scales below and on the left are logarithmic; values on them are positive.
        height: of the chart, pixels.
        bottom: where a scale on the left begins that is not logarithmic.
    """

    title: str
    x_name: str
    left_name: str
    right_name: str
    lines: Mapping[str, Line]
    log_x: bool = False
    log_y: bool = False
    height: int = _HEIGHT
    bottom: float = 0.0


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
    names = [name for panel in panels for name in panel.lines]
    legend = max([_LEGEND, *(round(_LETTER * len(name)) for name in names)])
    top, parts = 0, []
    for panel in panels:
        parts.append(f'<g transform="translate({_MARGIN},{top + _MARGIN / 2})">{_panel(panel)}</g>')
        top += panel.height + _MARGIN
    size = f'width="{_WIDTH + 2 * _MARGIN + legend}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    return f"{head}{''.join(parts)}</svg>\n"


@dataclass(frozen=True)
class _Scale:
    """Values to shares of an axis."""

    first: float
    last: float
    log: bool

    def __call__(self, values: Float64Array) -> Float64Array:
        first, last = (np.log10(self.first), np.log10(self.last)) if self.log else (self.first, self.last)
        found = np.log10(values) if self.log else values
        return np.asarray((found - first) / (last - first), np.float64)

    def ticks(self) -> Float64Array:
        """The values with a label."""
        if not self.log:
            return np.linspace(self.first, self.last, _TICKS + 1)
        decades = 10.0 ** np.arange(np.floor(np.log10(self.first)), np.ceil(np.log10(self.last)) + 1)
        few = len(decades) <= _TICKS
        ticks = np.sort(np.outer(decades, (1, 2, 5) if few else (1,)).ravel())
        return ticks[(ticks >= self.first * (1 - 1e-9)) & (ticks <= self.last * (1 + 1e-9))]


def _log_scale(values: Float64Array) -> _Scale:
    """A logarithmic scale from and to 1, 2 or 5 times a power of ten."""
    if not len(values):
        return _Scale(1.0, 10.0, True)
    rounds = np.sort(np.outer(10.0 ** np.arange(-9.0, 13.0), (1, 2, 5)).ravel())
    first = rounds[max(int(np.searchsorted(rounds, values.min(), "right")) - 1, 0)]
    last = rounds[min(int(np.searchsorted(rounds, values.max())), len(rounds) - 1)]
    return _Scale(float(first), float(last if last > first else 10 * first), True)


def _x_scale(panel: Panel) -> _Scale:
    all_x = np.concatenate([line.x for line in panel.lines.values()])
    if panel.log_x:
        return _log_scale(all_x)
    first, last = (float(all_x.min()), float(all_x.max())) if len(all_x) else (0.0, 1.0)
    return _Scale(first, last if last > first else first + 1.0, False)


def _x_ticks(panel: Panel, scale: _Scale) -> Float64Array:
    """The places of measurements if they are few, else values at equal distances."""
    measured = np.unique(np.concatenate([line.x for line in panel.lines.values()]))
    few = 1 < len(measured) <= _MOST_MEASURED and all(line.marked for line in panel.lines.values())
    return measured if few and not scale.log else scale.ticks()


def _panel(panel: Panel) -> str:
    behind = [(name, line) for name, line in panel.lines.items() if line.right]
    before = [(name, line) for name, line in panel.lines.items() if not line.right]
    left = _Scale(panel.bottom, panel.bottom + _top([line for _, line in before], panel.bottom), False)
    if panel.log_y:
        left = _log_scale(np.concatenate([line.y for _, line in before]))
    x_scale, right, height = _x_scale(panel), _Scale(0.0, _top([line for _, line in behind]), False), panel.height
    parts = [f'<text x="0" y="-6" font-weight="bold">{escape(panel.title)}</text>']
    for index, (name, line) in enumerate([*behind, *before]):
        number = index - len(behind)
        colour = _GREY if line.right else _COLOURS[number % len(_COLOURS)]
        style = f'stroke="{colour}"' + (f' stroke-dasharray="{_DASHES}"' if number >= len(_COLOURS) else "")
        points = _WIDTH * x_scale(line.x), height * (1 - (right if line.right else left)(line.y))
        parts.append(_draw(line, points, style, height))
        parts += _marks(points, colour) if line.marked else []
        y = 12 + 14 * index
        parts.append(f'<text x="{_WIDTH + 50}" y="{y}" fill="{colour}">{escape(name)}</text>')
        if not line.right:
            parts.append(f'<line x1="{_WIDTH + 24}" x2="{_WIDTH + 46}" y1="{y - 4}" y2="{y - 4}" {style}/>')
    parts.append(f'<rect width="{_WIDTH}" height="{height}" fill="none" stroke="black"/>')
    x_ticks = _x_ticks(panel, x_scale)
    for share, value in zip(x_scale(x_ticks), x_ticks, strict=True):
        rounded = float(value) if panel.log_x else round(float(value), 1)
        parts.append(_label(share * _WIDTH, height + 14, "middle", rounded))
    parts += [
        _label(-4, height * (1 - share) + 4, "end", value)
        for share, value in zip(left(left.ticks()), left.ticks(), strict=True)
    ]
    if behind:
        pairs = zip(right(right.ticks()), right.ticks(), strict=True)
        parts += [_label(_WIDTH + 4, height * (1 - share) + 4, "start", value) for share, value in pairs]
    parts.append(f'<text x="{_WIDTH / 2}" y="{height + 26}" text-anchor="middle">{escape(panel.x_name)}</text>')
    names = escape(panel.left_name) + (f" (grey: {escape(panel.right_name)})" if behind else "")
    parts.append(f'<text x="{_WIDTH}" y="-6" text-anchor="end">{names}</text>')
    return "".join(parts)


def _top(lines: Sequence[Line], bottom: float = 0.0) -> float:
    """The length of a scale from `bottom` that has round ticks."""
    highest = max((float(line.y.max()) - bottom for line in lines if len(line.y)), default=0.0)
    if highest <= 0:
        return 1.0
    step = highest / _TICKS
    power = 10.0 ** np.floor(np.log10(step))
    return float(_TICKS * power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= step))


def _draw(line: Line, points: tuple[Float64Array, Float64Array], style: str, height: int) -> str:
    x, y = points
    text = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
    if not line.right or not len(x):
        return f'<polyline points="{text}" fill="none" {style}/>'
    area = f"{x[0]:.1f},{height} {text} {x[-1]:.1f},{height}"
    return f'<polygon points="{area}" fill="{_GREY}" opacity="0.5"/>'


def _marks(points: tuple[Float64Array, Float64Array], colour: str) -> list[str]:
    pairs = zip(*points, strict=True)
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="none" stroke="{colour}"/>' for x, y in pairs]


def _label(x: float, y: float, anchor: str, value: float) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_number(value)}</text>'


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1e4 else f"{value:.4g}"
