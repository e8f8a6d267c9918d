"""How old is the newest thing that a viewer sees?  `python -m tests.bench.link --trace FILE`.

Two hosts (network namespaces) with a link between them that follows a recorded trace, scaled to where label streams
live (its 5th and 95th percentile at 20 and 400 kbit/s).  A live source of 30 frames a second on one, a receiver without
reconstruction on the other; display age is sampled at 100 Hz.  Systems:

    capacity, paper, fixed    the sender's `--policy`
    oracle                    knows the trace: sends the newest frame whenever the link is free, as small as ours at
                              best, without headers to ask for and acknowledgements to wait for

Takes root, for the namespaces.  Without `--trace`: a step from 400 to 50 kbit/s and back.  With `--outage S` nothing
passes for S seconds, from a third of the time on; `recovery_ms` is from its end to the first frame shown that was
captured after it.  With `--step HIGH LOW` the link falls from the one capacity to the other then, in kbit/s, and
`oldest_ms` is the greatest age at which a frame was shown from half a second after that on.  With `--blob-bytes` a
blob of that size is always on its way beside the frames; `bulk_bytes_per_s` is what arrived of whole ones.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.arrays import Float64Array
from common.errors import OutputError, SourceError
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.svg import Line, Panel, write_svg
from tests.netlab.hosts import ADDRESSES, TwoHosts, require_hosts
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

POLICIES = ("capacity", "paper", "fixed")
SECONDS, QUICK_SECONDS = 60.0, 15.0
PORT = 50051
FPS = 30.0
_SAMPLES_HZ = 100.0
# Session set-up and the first estimates are not what a viewer feels.
_SETTLING_S = 2.0
_STARTING_S = 20.0
# A run that begins later than this has met another part of the trace than the oracle.
_IN_TIME_S, _TRIES = 0.1, 3
# So long a link that has fallen may show old frames.
_FALLEN_S = 0.5
# Headers of HTTP/2, TCP and IP around a frame.
_HEADERS_BYTES = 100
_SMALLEST_PAYLOAD_BYTES = 30

Figures = dict[str, float]


class Ages(NamedTuple):
    """Display age over time: (N,) seconds, both."""

    at_s: Float64Array
    age_s: Float64Array


class Run(NamedTuple):
    """One system over one link."""

    figures: Figures
    began_s: float
    ages: Ages


@dataclass(frozen=True, slots=True)
class Link:
    """What a system has to cope with."""

    there: Shape
    back: Shape
    seconds: float
    blob_bytes: int
    # When the capacity falls for good, in seconds of the link's time.
    fall_s: float | None = None


def display_ages(captured_s: Float64Array, shown_s: Float64Array, begin_s: float, end_s: float) -> Ages:
    """Age of the newest frame shown at every sample between two moments, from the first frame on.

    Args:
        captured_s, shown_s: (N,) of each frame that was shown.
    """
    order = np.argsort(shown_s)
    newest_s = np.maximum.accumulate(captured_s[order])
    at_s = np.arange(begin_s, end_s, 1 / _SAMPLES_HZ)
    index = np.searchsorted(shown_s[order], at_s, side="right") - 1
    at_s, index = at_s[index >= 0], index[index >= 0]
    return Ages(at_s, at_s - newest_s[index])


def oracle(shape: Shape, seconds: float) -> tuple[Float64Array, Float64Array]:
    """Capture and arrival of the frames that somebody sends who knows when the link is free."""
    pipe = Pipe(shape)
    captured, shown = [], []
    size = _SMALLEST_PAYLOAD_BYTES + _HEADERS_BYTES
    now_s, picture = 0.0, 0
    while now_s < seconds:
        arrives_s = pipe.offer(size, now_s)
        if arrives_s is not None:
            captured.append(picture / FPS)
            shown.append(arrives_s)
            now_s = max(arrives_s - shape.delay_s, now_s)
        # The newest picture when the link is free again, or the next one, if that has gone already.
        picture = max(int(now_s * FPS), picture + 1)
        now_s = max(now_s, picture / FPS)
    return np.array(captured), np.array(shown)


def figures(ages: Ages) -> Figures:
    """The percentiles of display age."""
    return {f"age_p{share}_ms": 1e3 * percentile(ages.age_s, share) for share in (50, 95, 99)}


def recovery_s(captured_s: Float64Array, shown_s: Float64Array, end_s: float) -> float:
    """From the end of an outage to the first frame shown that was captured after it; infinite if there is none."""
    fresh = shown_s[captured_s >= end_s]
    return float(fresh.min() - end_s) if len(fresh) else float("inf")


def oldest_s(captured_s: Float64Array, shown_s: Float64Array, fall_s: float) -> float:
    """Greatest age at which a frame was shown from half a second after the fall on; infinite if there is none."""
    after = shown_s >= fall_s + _FALLEN_S
    return float((shown_s - captured_s)[after].max()) if after.any() else float("inf")


def play(policy: str, link: Link) -> Run:
    """One policy over the link.

    Raises:
        OutputError: source or sink ended with an error, which stands above.
    """
    seconds = link.seconds
    with TwoHosts(link.there, link.back) as hosts, tempfile.TemporaryDirectory() as folder:
        log, address = Path(folder) / "shown.jsonl", f"{ADDRESSES[1]}:{PORT}"
        receive = ["tests.netlab.sink", "--listen", address, "--log", str(log)]
        send = ["tests.netlab.source", "--peer", address, "--policy", policy, "--seconds", str(seconds)]
        send += ["--start-at", str(hosts.began_at_s + _STARTING_S)]
        send += ["--blob-bytes", str(link.blob_bytes)]
        sink = hosts.run(1, receive)
        try:
            if not sink.next_line_starts_with("listening"):
                raise OutputError("the receiving end did not start; its error stands above")
            source = hosts.run(0, send)
            told = source.rest(timeout_s=seconds + 120)
            if source.exit_code:
                raise OutputError(f"the sending end ended with exit code {source.exit_code}")
        finally:
            sink.terminate()
        noted = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines, blobs = ([line for line in noted if ("kind" in line) == bulky] for bulky in (False, True))
    began_s = json.loads(told.splitlines()[0])["began_at"]
    captured, shown = (np.array([line[name] for line in lines]) - began_s for name in ("captured_at", "shown_at"))
    sent = sum(line["bytes"] for line in lines)
    ages = display_ages(captured, shown, _SETTLING_S, seconds)
    told_of = figures(ages) | {"frames": float(len(lines)), "bytes_per_s": sent / seconds}
    if link.blob_bytes:
        told_of["bulk_bytes_per_s"] = sum(blob["bytes"] for blob in blobs) / seconds
    for _, end_s in link.there.outages:
        told_of["recovery_ms"] = 1e3 * recovery_s(captured, shown, end_s - (began_s - hosts.began_at_s))
    if link.fall_s is not None:
        told_of["oldest_ms"] = 1e3 * oldest_s(captured, shown, link.fall_s - (began_s - hosts.began_at_s))
    return Run(told_of, began_s - hosts.began_at_s, ages)


def play_in_time(policy: str, link: Link) -> Run:
    """`play`, from the moment of the trace on that the oracle begins at, or else the two cannot be compared.

    Raises:
        OutputError: the programs were not ready then, several times over.
    """
    for _ in range(_TRIES):
        run = play(policy, link)
        if run.began_s - _STARTING_S < _IN_TIME_S:
            return run
        report.tell(f"began {run.began_s - _STARTING_S:.1f} s late, which does not count: again")
    raise OutputError(f"programs take more than {_STARTING_S:g} s to start: leave the machine to the bench")


def read_trace(path: Path | None, *, full_scale: bool = False) -> Trace:
    """The trace in a file, at 20 to 400 kbit/s unless `full_scale`; without a file, the step.

    Raises:
        SourceError: the file cannot be read or is no trace.
    """
    if path is None:
        return Trace.steps((20.0, 400.0), (20.0, 50.0), (20.0, 400.0))
    try:
        trace = Trace.read(path)
    except OSError as error:
        raise SourceError(f"cannot read the trace {path}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(str(error)) from error
    return trace if full_scale else trace.scaled(20.0, 400.0)


def trace_files(paths: Sequence[Path]) -> list[Path]:
    """The files among the paths, and those in the folders among them, without licences and other texts.

    Raises:
        SourceError: there is no such file or folder.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SourceError(f"there is no trace {path}")
        inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        found += [each for each in inside if not each.name.isupper()]
    return found


def play_all(link: Link, policies: Sequence[str], name: str) -> dict[str, Run]:
    """Every policy over one link, and the oracle."""
    runs: dict[str, Run] = {}
    for policy in policies:
        runs[policy] = play_in_time(policy, link)
        report.tell(f"{name}, {policy}: {runs[policy].figures}")
    end_s = _STARTING_S + link.seconds
    captured_s, shown_s = (times - _STARTING_S for times in oracle(link.there, end_s))
    ages = display_ages(captured_s, shown_s, _SETTLING_S, link.seconds)
    runs["oracle"] = Run(figures(ages), _STARTING_S, ages)
    return runs


def chart(link: Link, runs: Mapping[str, Run], title: str) -> Panel:
    """Display age of each system over time, and what the link carries."""
    lines = {name: Line(run.ages.at_s, 1e3 * run.ages.age_s) for name, run in runs.items()}
    at_s = np.arange(0.0, link.seconds, 0.1)
    assert link.there.trace is not None
    carried = np.array([link.there.trace.carried(each + _STARTING_S) for each in [*at_s, link.seconds]])
    capacity = Line(at_s, np.diff(carried) / 0.1 / 125, right=True)
    return Panel(title, "s", "display age, ms", "capacity, kbit/s", {**lines, "the link": capacity})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("link", "Measure display age over a link that follows a trace.", 1)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="Mahimahi, alphartc or norway3g")
    parser.add_argument("--traces", type=Path, nargs="+", metavar="PATH", help="several, or folders of them")
    parser.add_argument("--full-scale", action="store_true", help="as recorded, instead of at 20 to 400 kbit/s")
    parser.add_argument(
        "--blob-bytes",
        type=int,
        default=0,
        metavar="N",
        help="blobs of so many bytes go beside the frames all the time",
    )
    parser.add_argument("--delay-ms", type=float, default=30.0, help="one way (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost, each way")
    parser.add_argument("--outage", type=float, default=0.0, metavar="S", help="seconds in which nothing passes")
    parser.add_argument("--step", type=float, nargs=2, metavar=("HIGH", "LOW"), help="kbit/s, instead of a trace")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES, help="(default: all)")
    parser.add_argument("--seconds", type=float, help=f"(default: {SECONDS:g}, {QUICK_SECONDS:g} with --quick)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw age and capacity over time (SVG)")
    options = parser.parse_args(arguments)

    def work() -> None:
        require_hosts()
        seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
        delay_s = options.delay_ms / 1e3
        # Programs take some seconds to start; the link's own time begins before them, and all begin at the same.
        out_s = _STARTING_S + seconds / 3
        outages = ((out_s, out_s + options.outage),) if options.outage else ()
        back = Shape(None, delay_s, options.loss, outages, seed=options.seed + 1)
        files = trace_files(options.traces) if options.traces else [options.trace]
        systems: dict[str, Figures] = {}
        panels: list[Panel] = []
        for file in files:
            name = file.name if file else "400–50–400 kbit/s"
            if options.step:
                name = "–".join(f"{kbps:g}" for kbps in options.step) + " kbit/s"
                trace = Trace.steps((out_s, options.step[0]), (seconds + 60.0, options.step[1]))
            else:
                trace = read_trace(file, full_scale=options.full_scale)
            there = Shape(trace, delay_s, options.loss, outages, seed=options.seed)
            link = Link(there, back, seconds, options.blob_bytes, out_s if options.step else None)
            runs = play_all(link, options.policies, name)
            prefix = f"{name}, " if options.traces else ""
            systems |= {prefix + system: run.figures for system, run in runs.items()}
            panels.append(chart(link, runs, name))
        scale = "full scale" if options.full_scale or options.step else "20 to 400 kbit/s"
        names = "" if options.traces else f"{name}, "
        print(f"{names}{scale}, {options.delay_ms:g} ms each way, {seconds:g} s, {report.machine_line()}\n")
        print(report.table(systems))
        report.write_json(options.json, "link", options.seed, systems, traces=[panel.title for panel in panels])
        if options.plot:
            write_svg(options.plot, panels)

    return report.run("link", work)


if __name__ == "__main__":
    sys.exit(main())
