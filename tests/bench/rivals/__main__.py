"""Bodywire beside pictures and video of people at equal error: `python -m tests.bench.rivals`.

All systems carry the same clips, the demo and freshly rendered ones of people and motions that no training used, at 30
frames a second; `systems.py` draws what each of them sends.  A system's settings give a curve:

    bodywire              the codec at ρ of an idle link, at the same ρ for every group, and at f
    WEBP, AVIF crops      what perception would read, perceived at the receiver
    H.264, AV1 video      whole frames or smaller ones, perceived at the receiver

`added_joint_error_mm` is the distance from the bodies that the sender perceives in the uncompressed frames, relative to
the hips; `mpjpe_mm` is the distance from the true joints.  Rates are means over all frames, the first one included,
without headers; figures are means over clips.  Rates at equal error are interpolated on the curves, their logarithm
linear in the error.  A bound stands where a curve does not reach an error, or never exceeds it.

What a link carries, and meshes: `tests.bench.scenarios`.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from tests.bench import report
from tests.bench.measures import mean_by_key
from tests.bench.motion.moving_clips import MovingClipRenderer
from tests.bench.rivals.systems import OURS, UNCODED, Systems
from tests.bench.scenarios.footage import demo, filmed

JOINT_ERRORS_MM = (3.0, 8.0)
"""Added joint errors at which rates are compared."""
MPJPE_SHARE = 0.05
"""Share by which the error against the truth may exceed that of the uncompressed labels."""

Curve = Sequence[tuple[float, float]]
"""Bytes a frame, and error, of each setting of a system."""


def equal_rate(curve: Curve, error: float) -> tuple[str, float]:
    """The bytes a frame at an error, interpolated on the settings whose error no cheaper one has.

    Where no setting has so small an error, it is the rate of the nearest, and the sign is `≥`; where the cheapest has a
    smaller one, `≤`.
    """
    points: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not points or point[1] < points[-1][1]:
            points.append(point)
    if points[-1][1] > error:
        return "≥ ", points[-1][0]
    if points[0][1] <= error:
        return "≤ ", points[0][0]
    sizes, errors = np.array(points[::-1]).T
    return "", float(np.exp(np.interp(error, errors, np.log(sizes))))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("rivals", __doc__, 20_000_100)
    report.add_amount(parser, "--rendered", "rendered clips beside the demo", 10, 1)
    report.add_amount(parser, "--frames", "frames of a clip", 300, 60, report.at_least(2))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    systems, renderer = Systems(options.quick), MovingClipRenderer(options.frames)
    clips = {"demo": demo(options.frames)}
    clips |= {f"rendered {each}": filmed(renderer, options.seed, each) for each in range(options.rendered)}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, clip in clips.items():
        for system, setting, figures in systems.results(name, clip):
            rows.setdefault((system, setting), []).append(figures)
            report.progress(f"{name}: {setting}")
    means = {key: mean_by_key(each) for key, each in rows.items()}
    head = f"demo and {options.rendered} rendered clips of {options.frames} frames, 30 a second, seed {options.seed}"
    report.publish(options, {setting: figures for (_, setting), figures in means.items()}, head)
    limits = {f"added joint error {error:g} mm": ("added_joint_error_mm", error) for error in JOINT_ERRORS_MM}
    uncoded_mm = means[UNCODED, UNCODED]["mpjpe_mm"]
    limits[f"MPJPE within {100 * MPJPE_SHARE:g} %"] = "mpjpe_mm", (1 + MPJPE_SHARE) * uncoded_mm
    table = [["", *limits]]
    for system in dict.fromkeys(system for system, _ in means if system != UNCODED):
        cells = []
        for key, error in limits.values():
            (sign, size), (_, ours) = (
                equal_rate([(row["bytes_per_frame"], row[key]) for (of, _), row in means.items() if of == each], error)
                for each in (system, OURS)
            )
            cells.append(f"{sign}{size:.4g} bytes, {size / ours:.4g}×")
        table.append([system, *cells])
    print(f"\nbytes a frame, and multiples of bodywire's, at\n\n{report.markdown(table)}")


if __name__ == "__main__":
    sys.exit(main())
