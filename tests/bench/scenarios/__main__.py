"""Scenarios A and B of the AFLSC paper, sent: `python -m tests.bench.scenarios`.

Two hosts with a shaped link between them, 30 ms each way.  All systems run over it: pictures come in at one end, and
meshes are written at the other (`play.py`, `ways.py`).  Both daemons take part in every one, at one end or at both.

    bodywire                         as by default, encrypted: labels, and the colours of clothes and skin after them
    bodywire, labels alone           the same with --no-colours (A)
    without semantic communication   the body of each picture as a mesh, with Draco (A)
    WebP, AVIF crops                 the square that perception would read; what finds it costs nothing
    DeepJSCC crops                   the same as symbols of the image channel at 10 dB, by the plain decoder; its link
                                     is faster, so that a symbol takes as long as the bits of its capacity elsewhere
    H.264, AV1 video                 whole pictures, low delay (B)

A   pictures of different people over 1 Mbit/s, as fast as they go; a system has its best setting:
      total_s               until the mesh of the last one is written
      delay_p50_s, p95      from a picture that goes in to its mesh, with those before it that are not ready
B   the demo clip as a live camera, ten pictures a second, over thinner and thinner links; a rival knows the capacity,
    takes the best setting in which the link carries them all, or else the smallest, and always the newest picture:
      age_p50_ms, age_p95   age of the newest mesh, at any moment
      shown_error_mm        its joints, from where they are at that moment
      meshes_per_s, kbps    meshes written, and bits at the network devices, both ways
Of both: bytes at the network devices, headers and answers included, for each mesh; `mpjpe_mm` from the true joints,
relative to the hips; `view_mse` (29) and `view_ssim` (30) of views of the true and the written body, uncoloured.
All figures are in the JSON; of several (`--of`), the tables have each figure's range, and the charts its mean.

Needs root, for the namespaces.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self

from common.errors import UsageError
from tests.bench import report
from tests.bench.charts import Lines, draw
from tests.bench.rivals.coders import VIDEOS
from tests.bench.scenarios.footage import demo, strangers
from tests.bench.scenarios.play import LABELS, SYSTEMS
from tests.bench.scenarios.runs import A_KBPS, Figures, each_playing, scenario_a, scenario_b
from tests.bench.scenarios.ways import CROPS, MESHES
from tests.netlab.hosts import require_hosts

SEED = 20_000_200
MODELS, QUICK_MODELS = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4)
B_KBPS, QUICK_KBPS = (400, 150, 50, 20, 10), (100, 20)
A_SYSTEMS, B_SYSTEMS = (*LABELS, MESHES, *CROPS), ("bodywire", *CROPS, *VIDEOS)
CLIP_FRAMES = 61
"""There and back these take four seconds: every capacity sees all of them."""

Run = Mapping[str, Sequence[Mapping[str, Any]]]
"""`scenario_a` and `scenario_b` of the JSON."""


class Range(float):
    """The mean of a figure's values in several runs, written as the least and the greatest."""

    def __new__(cls, *values: float) -> Self:
        made = super().__new__(cls, sum(values) / len(values))
        made.values = values
        return made

    values: tuple[float, ...]

    def __format__(self, form: str) -> str:
        return "–".join(dict.fromkeys(format(end, form) for end in (min(self.values), max(self.values))))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("scenarios", __doc__, SEED)
    report.add_amount(parser, "--seconds", "duration at each capacity of scenario B", 4.0, 2.0, float)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="systems to run (default: all)")
    parser.add_argument("--of", nargs="+", type=Path, metavar="FILE", help="JSON of earlier runs, instead of a new one")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="folder for the two charts as PNG")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    runs = [_earlier(path) for path in options.of] if options.of else [_measured(options)]
    a, b = (ranges(runs, *scenario) for scenario in (("scenario_a", "models"), ("scenario_b", "capacity_kbps")))
    for results, unit in ((a, "models"), (b, "kbit/s")):
        rows = {f"{system}, {x} {unit}": row for system, each in results.items() for x, row in each.items()}
        print(f"{report.table(rows)}\n")
    if options.plots:
        panels = {"total time, s": _lines(a, "total_s"), "bytes a mesh, until then": _lines(a, "bytes_per_mesh")}
        draw(options.plots / "scenario-a.png", "scenario A", "models", panels)
        panels = {"age, ms, median": _lines(b, "age_p50_ms"), "error of joints shown, mm": _lines(b, "shown_error_mm")}
        draw(options.plots / "scenario-b.png", "scenario B", "kbit/s", panels)


def ranges(runs: Sequence[Run], scenario: str, x: str) -> dict[str, dict[int, dict[str, Range]]]:
    """The figures of runs, by system, and models or kbit/s."""
    found: dict[str, dict[int, dict[str, Range]]] = {}
    for row in (row for run in runs for row in run[scenario]):
        figures = found.setdefault(row["system"], {}).setdefault(row[x], {})
        for key, value in ((key, value) for key, value in row.items() if key not in ("system", x)):
            more = figures[key].values if key in figures else ()
            figures[key] = Range(*more, float("nan") if value is None else value)
    return found


def _lines(results: dict[str, dict[int, dict[str, Range]]], key: str) -> Lines:
    return {system: [(x, row[key]) for x, row in each.items()] for system, each in results.items()}


def _measured(options: argparse.Namespace) -> Run:
    """A new run."""
    require_hosts()
    began = monotonic()
    models, capacities = (QUICK_MODELS, QUICK_KBPS) if options.quick else (MODELS, B_KBPS)
    found, systems = {"scenario_a": list[Any](), "scenario_b": list[Any]()}, dict[str, Figures]()
    people, clip = strangers(options.seed, max(models) + 1), demo(CLIP_FRAMES)
    for playing in each_playing(filter(options.systems.__contains__, A_SYSTEMS), False, A_KBPS):
        rows = dict(scenario_a(playing, people, models))
        found["scenario_a"] += [{"system": playing.system, "models": count, **row} for count, row in rows.items()]
        systems[playing.system] = rows[max(models)]
        report.progress(f"{monotonic() - began:.0f} s: A, {playing.system}: {rows[max(models)]}")
    for playing in each_playing(filter(options.systems.__contains__, B_SYSTEMS), True, capacities[0]):
        rows = dict(scenario_b(playing, clip, capacities, options.seconds))
        found["scenario_b"] += [{"system": playing.system, "capacity_kbps": kbps, **row} for kbps, row in rows.items()]
        report.progress(f"{monotonic() - began:.0f} s: B, {playing.system}: {rows}")
    print(f"seed {options.seed}, {monotonic() - began:.0f} s, {report.machine_line()}\n")
    report.write_json(options, {name: systems.get(name, {}) for name in options.systems}, **found)
    return found


def _earlier(path: Path) -> Run:
    """The JSON of an earlier run. Raises UsageError if it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {scenario: document[scenario] for scenario in ("scenario_a", "scenario_b")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} has no figures of the scenarios: give files of --json") from error


if __name__ == "__main__":
    sys.exit(main())
