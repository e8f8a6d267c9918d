"""How well does the sender know what a link could carry that it hardly uses?  `python -m tests.bench.capacity`.

Two hosts (network namespaces) with a link of constant capacity between them, over a grid of capacities and round trips.
A live source of labels on one, a receiver without reconstruction on the other.  For each link, after five seconds:

    estimate_mbps       median of what the sender took the capacity for
    error_p50, _p95     share by which that was off (95 %: of the moments, one a frame)
    use                 share of the capacity that everything the sender sent took, headers and all
    probing             share that trains of heartbeats took

Takes root, for the namespaces.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import OutputError
from tests.bench import report
from tests.bench.measures import percentile
from tests.netlab.hosts import ADDRESSES, TwoHosts, require_hosts
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace

MBPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
RTT_MS = (10.0, 60.0, 300.0)
QUICK_MBPS, QUICK_RTT_MS = (0.2, 2.0, 20.0), (10.0, 300.0)
SECONDS = 13.0
PORT = 50051
_SETTLING_S = 5.0
# Labels at 30 frames a second take 37 kbit/s with their headers, more than 30 % of the thinnest link.
_FPS, _THIN_MBPS, _THIN_FPS = 30.0, 0.15, 12.0

Figures = dict[str, float]


def estimate(mbps: float, rtt_ms: float, seconds: float) -> Figures:
    """One link.

    Raises:
        OutputError: source or sink ended with an error, which stands above.
    """
    there, back = Shape(Trace.constant(mbps * 1e3), rtt_ms / 2e3), Shape(None, rtt_ms / 2e3)
    fps = _FPS if mbps > _THIN_MBPS else _THIN_FPS
    with TwoHosts(there, back) as hosts, tempfile.TemporaryDirectory() as folder:
        address = f"{ADDRESSES[1]}:{PORT}"
        sink = hosts.run(1, ["tests.netlab.sink", "--listen", address, "--log", str(Path(folder) / "shown.jsonl")])
        try:
            if not sink.next_line_starts_with("listening"):
                raise OutputError("the receiving end did not start; its error stands above")
            send = ["tests.netlab.source", "--peer", address, "--seconds", str(seconds), "--fps", str(fps)]
            told = hosts.run(0, send).rest(timeout_s=seconds + 120)
        finally:
            sink.terminate()
        offered_bytes, _ = hosts.offered_bytes()
    if not told:
        raise OutputError("the sending end ended with an error, which stands above")
    last = json.loads(told.splitlines()[-1])
    return judge(last["capacity_bps"], mbps) | {
        "use": offered_bytes * 8e-6 / seconds / mbps,
        "probing": last["probing_bytes"] * 8e-6 / seconds / mbps,
    }


def judge(estimates: Sequence[tuple[float, float | None]], mbps: float) -> Figures:
    """The figures of estimates over time; a moment without an estimate is wrong by all there is.

    Args:
        estimates: (seconds, bit/s) each.
        mbps: the truth, Mbit/s.
    """
    found = np.array([(bps or 0.0) / 1e6 for at_s, bps in estimates if at_s >= _SETTLING_S])
    error = np.abs(found / mbps - 1)
    return {
        "estimate_mbps": percentile(found, 50),
        "error_p50": percentile(error, 50),
        "error_p95": percentile(error, 95),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("capacity", "Measure how well the capacity of a link is estimated that is hardly used.", 1)
    parser.add_argument("--mbps", type=float, nargs="+", help=f"capacities (default: {' '.join(map(str, MBPS))})")
    parser.add_argument("--rtt-ms", type=float, nargs="+", help=f"(default: {' '.join(map(str, RTT_MS))})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a link (default: %(default)s)")
    options = parser.parse_args(arguments)

    def work() -> None:
        require_hosts()
        capacities = options.mbps or (QUICK_MBPS if options.quick else MBPS)
        round_trips = options.rtt_ms or (QUICK_RTT_MS if options.quick else RTT_MS)
        systems: dict[str, Figures] = {}
        for mbps, rtt_ms in itertools.product(capacities, round_trips):
            name = f"{mbps:g} Mbit/s, {rtt_ms:g} ms"
            systems[name] = estimate(mbps, rtt_ms, options.seconds)
            report.tell(f"{name}: {systems[name]}")
        print(f"labels at {_FPS:g} frames a second, {options.seconds:g} s, {report.machine_line()}\n")
        print(report.table(systems))
        report.write_json(options.json, "capacity", options.seed, systems)

    return report.run("capacity", work)


if __name__ == "__main__":
    sys.exit(main())
