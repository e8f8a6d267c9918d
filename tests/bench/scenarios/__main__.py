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
B   the demo clip as a live camera, ten pictures a second, over thinner and thinner links; a rival knows the capacity,
    takes the best setting in which the link carries them all, or else the smallest, and always the newest picture:
      age_p50_ms, age_p95   age of the newest mesh, at any moment
      shown_error_mm        its joints, from where they are at that moment
      meshes_per_s, kbps    meshes written, and bits at the network devices, both ways
Of both: bytes at the network devices, headers and answers included, for each mesh; `mpjpe_mm` from the true joints,
relative to the hips; `view_mse` (29) and `view_ssim` (30) of views of the true and the written body, uncoloured.

Needs root, for the namespaces.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report
from tests.bench.charts import Lines, draw
from tests.bench.rivals.coders import VIDEOS
from tests.bench.rivals.footage import demo, strangers
from tests.bench.scenarios.play import LABELS, SYSTEMS
from tests.bench.scenarios.runs import A_KBPS, Figures, scenario_a, scenario_b
from tests.bench.scenarios.ways import CROPS, MESHES
from tests.netlab.hosts import require_hosts

SEED = 20_000_200
MODELS, QUICK_MODELS = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4)
B_KBPS, QUICK_KBPS = (400, 150, 50, 20, 10), (100, 20)
A_SYSTEMS, B_SYSTEMS = (*LABELS, MESHES, *CROPS), ("bodywire", *CROPS, *VIDEOS)
CLIP_FRAMES = 61
"""There and back these take four seconds: every capacity sees all of them."""

Results = dict[str, dict[int, Figures]]
"""System → models or kbit/s → figures."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("scenarios", __doc__, SEED)
    report.add_amount(parser, "--seconds", "duration at each capacity of scenario B", 4.0, 2.0, float)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="systems to run (default: all)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="folder for the two charts as PNG")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    models, capacities = (QUICK_MODELS, QUICK_KBPS) if options.quick else (MODELS, B_KBPS)
    a, b = Results(), Results()
    people = strangers(options.seed, max(models) + 1)
    for system in filter(options.systems.__contains__, A_SYSTEMS):
        a[system] = dict(scenario_a(system, people, models))
        report.progress(f"A, {system}: {a[system][max(models)]}")
    clip = demo(CLIP_FRAMES)
    for system in filter(options.systems.__contains__, B_SYSTEMS):
        b[system] = dict(scenario_b(system, clip, capacities, options.seconds))
        report.progress(f"B, {system}: {b[system]}")
    print(f"seed {options.seed}, {report.machine_line()}")
    for name, results, unit in (("A", a, "models"), ("B", b, "kbit/s")):
        rows = {f"{system}, {x} {unit}": row for system, each in results.items() for x, row in each.items()}
        print(f"\nscenario {name}\n\n{report.table(rows)}")
    systems = {system: {**a.get(system, {}).get(max(models), {})} for system in options.systems}
    report.write_json(options, systems, scenario_a=_listed(a, "models"), scenario_b=_listed(b, "capacity_kbps"))
    if options.plots:
        title = f"scenario A: pictures of different people to meshes over {A_KBPS:g} kbit/s"
        draw(options.plots / "scenario-a.png", title, "models", {"total time, s": _lines(a, "total_s")})
        panels = {"age, ms, median": _lines(b, "age_p50_ms"), "error of joints shown, mm": _lines(b, "shown_error_mm")}
        draw(options.plots / "scenario-b.png", "scenario B: a live camera", "kbit/s", panels)


def _listed(results: Results, key: str) -> list[dict[str, float | str]]:
    return [{"system": system, key: x, **row} for system, each in results.items() for x, row in each.items()]


def _lines(results: Results, key: str) -> Lines:
    return {system: [(x, row[key]) for x, row in each.items()] for system, each in results.items()}


if __name__ == "__main__":
    sys.exit(main())
