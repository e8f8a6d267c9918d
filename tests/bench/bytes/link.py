"""Display age over a link of varying capacity: `python -m tests.bench.link --trace FILE`.

Two hosts (network namespaces) are connected by a link whose capacity follows a recorded trace, scaled to the rates of
label streams (5th and 95th percentile at 20 and 400 kbit/s).  One runs a live source of 30 frames a second, the other a
receiver without reconstruction; display age, the age of the newest frame shown, is sampled at 100 Hz.  Systems:

    capacity, paper, fixed    the sender's `--policy`
    oracle                    knows the trace: sends the newest frame whenever the link is free, in our smallest size,
                              without acknowledgements

Needs root, for the namespaces.  Without `--trace` the capacity steps from 400 to 50 kbit/s and back.  With
`--step HIGH LOW` it falls from HIGH to LOW kbit/s after a third of the time; `oldest_ms` is the greatest age of a frame
shown later than half a second after it.  With `--blob-bytes` a blob of that
size is always in transfer beside the frames; `blob_bytes_per_s` is the rate of complete blobs.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.arrays import Float64Array
from common.errors import OutputError, SourceError
from tests.bench import report
from tests.bench.bytes.labels_over_link import encrypted, send
from tests.bench.measures import percentile
from tests.netlab.hosts import TwoHosts, require_hosts
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

POLICIES = ("capacity", "paper", "fixed")
FPS = 30.0
_SAMPLES_HZ = 100.0
# Time ignored at the start: session set-up and the first estimates.
_SETTLING_S = 2.0
_STARTING_S = 20.0
# A run that starts later than this covers another part of the trace than the oracle, and is repeated.
_MAX_START_DELAY_S, _MAX_RUNS = 0.1, 3
# Time after a fall of the capacity in which old frames are tolerated.
_FALL_TOLERANCE_S = 0.5
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


@dataclass(frozen=True, slots=True)
class Link:
    """The conditions of a run."""

    forward: Shape
    reverse: Shape
    seconds: float
    blob_bytes: int
    # When the capacity falls, in seconds of the link's time.
    fall_s: float | None = None
    # `clear`, or encrypted over `grpc` or `quic`.
    transport: str = "clear"
    # When a router forgets the sender's port, in seconds of the link's time.
    rebinds_s: Sequence[float] = ()


def display_ages(captured_s: Float64Array, shown_s: Float64Array, begin_s: float, end_s: float) -> Ages:
    """Age of the newest frame shown, at every sample between two moments from the first frame on.

    Args:
        captured_s, shown_s: (N,) times of each frame that was shown.
    """
    order = np.argsort(shown_s)
    newest_s = np.maximum.accumulate(captured_s[order])
    at_s = np.arange(begin_s, end_s, 1 / _SAMPLES_HZ)
    index = np.searchsorted(shown_s[order], at_s, side="right") - 1
    at_s, index = at_s[index >= 0], index[index >= 0]
    return Ages(at_s, at_s - newest_s[index])


def oracle(shape: Shape, seconds: float) -> tuple[Float64Array, Float64Array]:
    """Capture and arrival times of a sender that knows when the link is free."""
    pipe = Pipe(shape)
    captured, shown = [], []
    size = _SMALLEST_PAYLOAD_BYTES + _HEADERS_BYTES
    now_s, frame = 0.0, 0
    while now_s < seconds:
        arrives_s = pipe.offer(size, now_s)
        if arrives_s is not None:
            captured.append(frame / FPS)
            shown.append(arrives_s)
            now_s = max(arrives_s - shape.delay_s, now_s)
        # The newest frame when the link is free again, or the next one if that was sent already.
        frame = max(int(now_s * FPS), frame + 1)
        now_s = max(now_s, frame / FPS)
    return np.array(captured), np.array(shown)


def figures(ages: Ages) -> Figures:
    return {f"age_p{share}_ms": 1e3 * percentile(ages.age_s, share) for share in (50, 95, 99)}


def oldest_s(captured_s: Float64Array, shown_s: Float64Array, fall_s: float) -> float:
    """Greatest age of a frame shown later than half a second after the fall; infinite if there is none."""
    after = shown_s >= fall_s + _FALL_TOLERANCE_S
    return float((shown_s - captured_s)[after].max()) if after.any() else float("inf")


def run_policy(policy: str, link: Link) -> Run:
    """Runs one policy over the link.

    Raises:
        OutputError: source or sink failed; its error is printed above.
    """
    seconds = link.seconds
    flags = nullcontext[tuple[list[str], list[str]]](([], []))
    tls = flags if link.transport == "clear" else encrypted(quic=link.transport == "quic")
    with TwoHosts(link.forward, link.reverse, link.rebinds_s) as hosts, tls as (source, sink):
        start = ["--start-at", str(hosts.began_at_s + _STARTING_S), "--blob-bytes", str(link.blob_bytes)]
        sent = send(hosts, seconds, ["--policy", policy, *start, *source], sink)
    began_s = sent.source[0]["began_at"]
    captured, shown = (np.array([frame[name] for frame in sent.shown]) - began_s for name in ("captured_at", "at"))
    sent_bytes = sum(frame["bytes"] for frame in sent.shown)
    ages = display_ages(captured, shown, _SETTLING_S, seconds)
    measured = figures(ages) | {"frames": float(len(sent.shown)), "bytes_per_s": sent_bytes / seconds}
    if link.blob_bytes:
        measured["blob_bytes_per_s"] = sum(blob["bytes"] for blob in sent.blobs) / seconds
    if link.fall_s is not None:
        measured["oldest_ms"] = 1e3 * oldest_s(captured, shown, link.fall_s - (began_s - hosts.began_at_s))
    return Run(measured, began_s - hosts.began_at_s)


def run_on_time(policy: str, link: Link) -> Run:
    """Repeats `run_policy` until it starts at the same time of the trace as the oracle.

    Raises:
        OutputError: the programs started too late in every run.
    """
    for _ in range(_MAX_RUNS):
        run = run_policy(policy, link)
        if run.began_s - _STARTING_S < _MAX_START_DELAY_S:
            return run
        report.progress(f"began {run.began_s - _STARTING_S:.1f} s late: repeated")
    raise OutputError(f"programs take more than {_STARTING_S:g} s to start: stop other programs on this machine")


def read_trace(path: Path | None) -> Trace:
    """Reads a trace, scaled to 20 to 400 kbit/s; without a file, the default step.

    Raises:
        SourceError: the file cannot be read or is not a trace.
    """
    if path is None:
        return Trace.steps((20.0, 400.0), (20.0, 50.0), (20.0, 400.0))
    try:
        return Trace.read(path).scaled(20.0, 400.0)
    except OSError as error:
        raise SourceError(f"cannot read the trace {path}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(str(error)) from error


def trace_files(paths: Sequence[Path]) -> list[Path]:
    """The given files, and the files in the given folders except those named in capitals (licences).

    Raises:
        SourceError: a file or folder does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SourceError(f"the trace {path} does not exist")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        found += [file for file in files if not file.name.isupper()]
    return found


def run_all(link: Link, policies: Sequence[str], name: str) -> dict[str, Run]:
    """Runs every policy over one link, and the oracle."""
    runs: dict[str, Run] = {}
    for policy in policies:
        runs[policy] = run_on_time(policy, link)
        report.progress(f"{name}, {policy}: {runs[policy].figures}")
    end_s = _STARTING_S + link.seconds
    captured_s, shown_s = (times - _STARTING_S for times in oracle(link.forward, end_s))
    ages = display_ages(captured_s, shown_s, _SETTLING_S, link.seconds)
    runs["oracle"] = Run(figures(ages), _STARTING_S)
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("link", __doc__, 1)
    formats = "files of Mahimahi, alphartc or norway3g, or folders of them"
    parser.add_argument("--trace", type=Path, nargs="+", default=[], metavar="PATH", help=formats)
    parser.add_argument(
        "--blob-bytes",
        type=int,
        default=0,
        metavar="N",
        help="size of the blobs that are always in transfer beside the frames",
    )
    parser.add_argument("--delay-ms", type=float, default=30.0, help="one-way delay (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost in each direction")
    parser.add_argument(
        "--step", type=float, nargs=2, metavar=("HIGH", "LOW"), help="step in kbit/s, instead of a trace"
    )
    parser.add_argument(
        "--policies", nargs="+", choices=POLICIES, default=POLICIES, help="policies to run (default: all)"
    )
    parser.add_argument(
        "--transport", choices=("clear", "grpc", "quic"), default="clear", help="the latter two encrypt"
    )
    parser.add_argument("--rebind", type=float, metavar="S", help="a router forgets the sender's port every S seconds")
    report.add_amount(parser, "--seconds", "duration of a run", 60.0, 15.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    seconds, delay_s = options.seconds, options.delay_ms / 1e3
    # Programs take some seconds to start: they all start sending at the same time of the link.
    fall_s = _STARTING_S + seconds / 3
    reverse = Shape(None, delay_s, options.loss, seed=options.seed + 1)
    rebinds_s = np.arange(_STARTING_S, seconds + _STARTING_S, options.rebind)[1:].tolist() if options.rebind else []
    files: list[Path | None] = [*trace_files(options.trace)] or [None]
    systems: dict[str, Figures] = {}
    names: list[str] = []
    for file in files:
        name = file.name if file else "400–50–400 kbit/s"
        if options.step:
            name = "–".join(f"{kbps:g}" for kbps in options.step) + " kbit/s"
            trace = Trace.steps((fall_s, options.step[0]), (seconds + 60.0, options.step[1]))
        else:
            trace = read_trace(file)
        forward = Shape(trace, delay_s, options.loss, seed=options.seed)
        fall = fall_s if options.step else None
        link = Link(forward, reverse, seconds, options.blob_bytes, fall, options.transport, rebinds_s)
        runs = run_all(link, options.policies, name)
        prefix = f"{name}, " if len(files) > 1 else ""
        systems |= {prefix + system: run.figures for system, run in runs.items()}
        names.append(name)
    scale = "full scale" if options.step else "20 to 400 kbit/s"
    where = "" if len(files) > 1 else f"{names[0]}, "
    head = f"{where}{scale}, {options.delay_ms:g} ms each way, {seconds:g} s"
    report.publish(options, systems, head, traces=names)


if __name__ == "__main__":
    sys.exit(main())
