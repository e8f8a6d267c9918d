"""Bodywire beside other ways to send a person: `python -m tests.bench.rivals`.

All systems carry the same clips, the demo and freshly rendered ones of people and motions that no training used, at 30
frames a second; `systems.py` draws what each of them sends.  A system's settings give a curve:

    bodywire              the codec at ρ of an idle link, at the same ρ for every group, and at f
    raw numbers           labels as numbers of 8 or 16 bits, as in `tests.bench.rate`; + zstd: each frame compressed
    JPEG, WEBP crops      what perception would read, perceived at the receiver
    H.264, AV1 video      whole frames or smaller ones, perceived at the receiver
    Draco                 the body's mesh of every frame

`added_joint_error_mm` and `added_chamfer_mm` are distances from the bodies that the sender perceives in the
uncompressed frames, relative to the hips; `mpjpe_mm` is the distance from the true joints.  Rates are means over all
frames, the first one included, without headers, and *on the link* with those of QUIC, UDP and IP, both ways, which are
the same for all systems; figures are means over clips.  Bodywire's `header_bytes` are
its sequence, time, camera, identities, confidences and checks; numbers and meshes have nothing of the kind.  Rates at
equal error are interpolated on the curves, their logarithm linear in the error.  A bound stands where a curve does not
reach an error, or never exceeds it.

Scenarios A and B of the AFLSC paper are computed from these bytes and the measured times (`scenarios.py`).

A system that cannot run is named with what to install: Draco is in the extra `bench`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import report
from tests.bench.moving_clips import MovingClipRenderer
from tests.bench.rivals import plots
from tests.bench.rivals.bodies import Figures
from tests.bench.rivals.clips import PerceivedClip, demo_clip, perceive, rendered_clip
from tests.bench.rivals.comparison import BOUND_WORDS, UNCODED, Comparison, Rates, criteria, equal_rates
from tests.bench.rivals.scenarios import StageTimes, as_figures, scenario_a, scenario_b
from tests.bench.rivals.systems import FAMILIES, Result, Systems, missing

CLIPS, QUICK_CLIPS = 10, 1
FRAMES, QUICK_FRAMES = 300, 60
_COLUMNS = (
    "bytes_per_frame",
    "payload_bytes_median",
    "added_joint_error_mm",
    "added_chamfer_mm",
    "mpjpe_mm",
    "encode_ms",
    "decode_ms",
)


@dataclass(frozen=True, eq=False)
class Done:
    """The results of one clip, and the errors of the uncompressed labels."""

    results: tuple[Result, ...]
    uncoded: Figures


def measured(systems: Systems, clip: PerceivedClip, families: Sequence[str]) -> Done:
    results: list[Result] = []
    for family in families:
        found = list(systems.measure(family, clip))
        report.progress(f"{clip.clip.name}, {family}: {len(found)} settings")
        results += found
    return Done(tuple(results), clip.reference.errors(clip.reference.posed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("rivals", __doc__, 20_000_100)
    parser.add_argument(
        "--rendered", type=report.at_least(0), metavar="N", help="rendered clips beside the demo (default: 10)"
    )
    parser.add_argument("--frames", type=report.at_least(2), metavar="N", help="frames of a clip (default: 300)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="folder for the curves and scenarios as PNG")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    frames = options.frames if options.frames is not None else QUICK_FRAMES if options.quick else FRAMES
    rendered = options.rendered if options.rendered is not None else QUICK_CLIPS if options.quick else CLIPS
    not_run = {family: reason for family in FAMILIES if (reason := missing(family))}
    families = tuple(family for family in FAMILIES if family not in not_run)
    systems = Systems(options.quick)
    clips = [demo_clip(frames)]
    if rendered:
        renderer = MovingClipRenderer(frames)
        clips += [rendered_clip(renderer, options.seed, number) for number in range(rendered)]
    perceived = [perceive(clip, systems.sender, systems.bodies) for clip in clips]
    times = StageTimes.measure(perceived[0], systems.sender)
    done = [measured(systems, clip, families) for clip in perceived]
    comparison = Comparison.from_clips([clip.results for clip in done], [clip.uncoded for clip in done])
    a, b = (scenario(comparison, times) for scenario in (scenario_a, scenario_b))
    rates = equal_rates(comparison)
    print(f"demo and {rendered} rendered clips of {frames} frames, 30 a second, seed {options.seed}")
    print(f"{report.machine_line()}\n")
    everything = {**comparison.figures, UNCODED: comparison.uncoded}
    print(report.table(everything, _COLUMNS))
    print("\n".join(f"{family}: NOT RUN, {reason}" for family, reason in not_run.items()))
    for criterion, (key, error) in criteria(comparison).items():
        print(f"\nat {criterion} ({key} = {error:.1f})\n\n{_rates_table(rates[criterion])}")
    print(f"\nscenario A\n\n{report.table(as_figures(a))}\n\nscenario B\n\n{report.table(as_figures(b))}\n")
    report.write_json(
        options,
        everything,
        equal_rates=rates,
        scenario_a=a,
        scenario_b=b,
        stage_times=asdict(times),
        not_run=not_run,
    )
    if options.plots:
        plots.draw_all(options.plots, comparison, a, b)


def _rates_table(rates: dict[str, Rates]) -> str:
    rows = [["", "bytes a frame", "of bodywire's", "on the link", "of bodywire's"]]
    for family, rate in rates.items():
        keys = "bytes_per_frame", "ratio", "link_bytes_per_frame", "link_ratio"
        size, ratio, link_size, link_ratio = (f"{float(rate[key] or 0):.4g}" for key in keys)
        of, times = BOUND_WORDS[str(rate["bound"])], BOUND_WORDS[str(rate["ratio_bound"])]
        rows.append([family, of + size, f"{times}{ratio}×", of + link_size, f"{times}{link_ratio}×"])
    return report.markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
