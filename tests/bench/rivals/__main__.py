"""Bodywire beside pictures and video of people at equal error: `python -m tests.bench.rivals`.

All systems carry the same clips, the demo and freshly rendered ones of people and motions that no training used, at 30
frames a second; `systems.py` draws what each of them sends.  A system's settings give a curve:

    bodywire              the codec at ρ of an idle link, at the same ρ for every group, and at f
    WEBP, AVIF crops      what perception would read, perceived at the receiver
    H.264, AV1 video      whole frames or smaller ones, perceived at the receiver

`added_joint_error_mm` is the distance from the bodies that the sender perceives in the uncompressed frames, relative to
the hips; `mpjpe_mm` is the distance from the true joints.  Rates are means over all frames, the first one included,
without headers; figures are means over clips.  Bodywire's `header_bytes` are its sequence, time, camera, identities,
confidences and checks.  Rates at equal error are interpolated on the curves, their logarithm linear in the error.  A
bound stands where a curve does not reach an error, or never exceeds it.

What a link carries, and meshes: `tests.bench.scenarios`.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.bench import report
from tests.bench.moving_clips import MovingClipRenderer
from tests.bench.rivals.clips import perceive
from tests.bench.rivals.comparison import BOUND_WORDS, UNCODED, Comparison, Rates, criteria, equal_rates
from tests.bench.rivals.footage import demo, filmed
from tests.bench.rivals.systems import FAMILIES, Result, Systems

_COLUMNS = ("bytes_per_frame", "payload_bytes_median", "added_joint_error_mm", "mpjpe_mm")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("rivals", __doc__, 20_000_100)
    report.add_amount(parser, "--rendered", "rendered clips beside the demo", 10, 1)
    report.add_amount(parser, "--frames", "frames of a clip", 300, 60, report.at_least(2))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    systems, renderer = Systems(options.quick), MovingClipRenderer(options.frames)
    clips = {"demo": demo(options.frames)}
    clips |= {f"rendered {each}": filmed(renderer, options.seed, each) for each in range(options.rendered)}
    done: list[list[Result]] = []
    perceived = [perceive(name, clip, systems.sender, systems.joints) for name, clip in clips.items()]
    for clip in perceived:
        done.append([])
        for family in FAMILIES:
            done[-1] += systems.measure(family, clip)
            report.progress(f"{clip.name}, {family}: {len(done[-1])} settings so far")
    comparison = Comparison.from_clips(done, [clip.errors(clip.joints) for clip in perceived])
    rates, everything = equal_rates(comparison), {**comparison.figures, UNCODED: comparison.uncoded}
    head = f"demo and {options.rendered} rendered clips of {options.frames} frames, 30 a second, seed {options.seed}"
    print(f"{head}\n{report.machine_line()}\n\n{report.table(everything, _COLUMNS)}")
    for criterion, (key, error) in criteria(comparison).items():
        print(f"\nat {criterion} ({key} = {error:.1f})\n\n{_rates_table(rates[criterion])}")
    report.write_json(options, everything, equal_rates=rates)


def _rates_table(rates: dict[str, Rates]) -> str:
    rows = [["", "bytes a frame", "of bodywire's"]]
    for family, rate in rates.items():
        size, ratio = (f"{float(rate[key]):.4g}" for key in ("bytes_per_frame", "ratio"))
        of, times = BOUND_WORDS[str(rate["bound"])], BOUND_WORDS[str(rate["ratio_bound"])]
        rows.append([family, of + size, f"{times}{ratio}×"])
    return report.markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
