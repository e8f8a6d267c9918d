"""Learning curves from the logs of a training: `python -m tests.bench.curves LOG … --terms NAME … --scores NAME …`.

Terms of the loss are running means over the last steps; scores are those of the averaged network on the validation
split.  The logs of successive stages are drawn one after the other.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.errors import SourceError, UsageError
from tests.bench import report
from tests.bench.svg import Line, Panel, write_svg

Points = dict[str, list[tuple[float, float]]]
"""Name → (samples seen, value) in the order of the log."""


def read_logs(paths: Sequence[Path]) -> tuple[Points, Points]:
    """Terms and scores of the stages of a training, over the samples seen in all of them.

    Raises:
        SourceError: a log cannot be read or has no steps.
    """
    terms: Points = {}
    scores: Points = {}
    before = 0.0
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SourceError(f"cannot read the log {path}: {error.strerror}") from error
        last = read_stage(lines, before, terms, scores)
        if last == before:
            raise SourceError(f"{path} has no steps: it is not the log of a training")
        before = last
    return terms, scores


def read_stage(lines: Iterable[str], before: float, terms: Points, scores: Points) -> float:
    """Adds the points of one stage's log; gives the samples seen at its end, of which `before` in earlier stages."""
    seen = before
    for line in lines:
        words = line.split()
        # A line is "12.34 min step 25 samples 800 22/s NAME VALUE …" or "12.34 min step 25 validation NAME VALUE …".
        if len(words) < 6 or words[1:3] != ["min", "step"]:
            continue
        validates = words[4] == "validation"
        if not validates:
            seen = before + float(words[5])
        pairs = words[5:] if validates else words[7:]
        for name, value in zip(pairs[::2], pairs[1::2], strict=False):
            (scores if validates else terms).setdefault(name, []).append((seen, float(value)))
    return seen


def panel_of(title: str, points: Points, names: Sequence[str]) -> Panel:
    """A panel of some of the curves.

    Raises:
        UsageError: the logs lack one of them.
    """
    missing = [name for name in names if name not in points]
    if missing:
        raise UsageError(f"no {', '.join(missing)} in the logs; there are {', '.join(sorted(points)) or 'none'}")
    lines = {}
    for name in names:
        x, y = np.array(points[name]).T
        lines[name] = Line(x / 1000, y)
    return Panel(title, "thousand samples", "", "", lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("curves", "Draw learning curves from the logs of a training.", 0)
    parser.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="logs of its stages, in their order")
    parser.add_argument("--terms", nargs="+", default=["loss"], help="terms of the loss (default: %(default)s)")
    parser.add_argument("--scores", nargs="+", default=[], help="validation scores")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .svg")
    options = parser.parse_args(arguments)

    def work() -> None:
        terms, scores = read_logs(options.logs)
        panels = [panel_of("training", terms, options.terms)]
        panels += [panel_of("validation", scores, options.scores)] if options.scores else []
        write_svg(options.out, panels)
        print(f"{len(panels)} panels in {options.out}")

    return report.run("curves", work)


if __name__ == "__main__":
    sys.exit(main())
