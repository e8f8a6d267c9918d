"""Accuracy of the capacity estimate on a link that is hardly used: `python -m tests.bench.capacity`.

Two hosts (network namespaces) are connected by a link of constant capacity, over a grid of capacities and round trips.
One runs a live source of labels, the other a receiver without reconstruction.  For each link, after five seconds:

    estimate_mbps       median of the sender's estimates, one per frame
    error_p50, _p95     percentiles of their relative error; a lower bound has none unless it is too high
    at_least            share of them that are lower bounds
    use                 share of the capacity used by all that the sender sent, headers included
    probing             share of the capacity used by packet trains

Needs root, for the namespaces.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence

import numpy as np

from tests.bench import report
from tests.bench.labels_over_link import send
from tests.bench.measures import percentile
from tests.netlab.hosts import TwoHosts, require_hosts
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace

MBPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
RTT_MS = (10.0, 60.0, 300.0)
QUICK_MBPS, QUICK_RTT_MS = (0.2, 2.0, 20.0), (10.0, 300.0)
SECONDS = 13.0
_SETTLING_S = 5.0
# Labels at 30 frames a second need 37 kbit/s with their headers, more than 30 % of the thinnest link.
_FPS, _THIN_MBPS, _THIN_FPS = 30.0, 0.15, 12.0

Figures = dict[str, float]


def estimate(mbps: float, rtt_ms: float, seconds: float) -> Figures:
    """Measures one link.

    Raises:
        OutputError: source or sink failed; its error is printed above.
    """
    forward, reverse = Shape(Trace.constant(mbps * 1e3), rtt_ms / 2e3), Shape(None, rtt_ms / 2e3)
    fps = _FPS if mbps > _THIN_MBPS else _THIN_FPS
    with TwoHosts(forward, reverse) as hosts:
        last = send(hosts, seconds, ["--fps", str(fps)]).source[-1]
        offered_bytes, _ = hosts.offered_bytes()
    return score(last["capacity_bps"], mbps) | {
        "use": offered_bytes * 8e-6 / seconds / mbps,
        "probing": last["probing_bytes"] * 8e-6 / seconds / mbps,
    }


def score(estimates: Sequence[tuple[float, float | None, bool]], mbps: float) -> Figures:
    """Scores estimates over time; a missing estimate counts as 0 Mbit/s.

    Args:
        estimates: seconds, bits per second, whether they were measured or are a lower bound.
        mbps: the true capacity, Mbit/s.
    """
    settled = [(bps, measured) for at_s, bps, measured in estimates if at_s >= _SETTLING_S]
    estimates_mbps = np.array([(bps or 0.0) / 1e6 for bps, _ in settled])
    bounds = np.array([bps is not None and not measured for bps, measured in settled])
    error = estimates_mbps / mbps - 1
    error = np.where(bounds, np.maximum(error, 0.0), np.abs(error))
    return {
        "estimate_mbps": percentile(estimates_mbps, 50),
        "error_p50": percentile(error, 50),
        "error_p95": percentile(error, 95),
        "at_least": float(bounds.mean()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("capacity", __doc__, 1)
    parser.add_argument(
        "--mbps", type=float, nargs="+", help=f"capacities, Mbit/s (default: {' '.join(map(str, MBPS))})"
    )
    parser.add_argument(
        "--rtt-ms", type=float, nargs="+", help=f"round trips, ms (default: {' '.join(map(str, RTT_MS))})"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="seconds per link (default: %(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    capacities = options.mbps or (QUICK_MBPS if options.quick else MBPS)
    round_trips = options.rtt_ms or (QUICK_RTT_MS if options.quick else RTT_MS)
    systems: dict[str, Figures] = {}
    for mbps, rtt_ms in itertools.product(capacities, round_trips):
        name = f"{mbps:g} Mbit/s, {rtt_ms:g} ms"
        systems[name] = estimate(mbps, rtt_ms, options.seconds)
        report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"labels at {_FPS:g} frames a second, {options.seconds:g} s")


if __name__ == "__main__":
    sys.exit(main())
