"""Bytes of a frame and of its acknowledgement on the wire: `python -m tests.bench.wire`.

Two hosts (network namespaces) are connected by a link without limit; sender and receiver run on them, encrypted with
TLS, as over the internet.  The sender sends the labels of the demo clip, `--fps` of its frames a second; the receiver
holds each as long as a reconstruction takes.  Packets are counted at the sender's network device, from the IP header
on, in intervals of ten frames, and divided by ten, because one message may acknowledge two frames:

    payload_bytes        median packet of the codec
    wire_bytes_median    median of the bytes a frame from sender to receiver
    back_bytes_median    median of the bytes a frame from receiver to sender: acknowledgements
    both_bytes_median    median of their sum
    *_mean               the same as means: with packet trains, which are sent now and then
    counted_bytes        everything in both directions, packet by packet, from start to end
    account_error        relative error of the sender's own account (`common.wire.traffic`) of the same

Needs root, for the namespaces.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.arrays import Float64Array
from common.errors import OutputError
from tests.bench import report
from tests.bench.bytes.labels_over_link import Sent, encrypted, send
from tests.bench.measures import percentile
from tests.netlab.hosts import TwoHosts, require_hosts
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace

FPS = 30.0
RTT_MS, HOLD_MS = (10.0, 60.0), (10.0, 25.0)
# Ignored at the start: key frame, slow groups, first estimates of the link.
_SETTLING_S = 6.0
_INTERVAL_FRAMES = 10
# Time to start the programs and connect before a link becomes thin, for the rest of the hour.
_CONNECTING_S, _AMPLE_KBIT, _HOUR_S = 15.0, 8000.0, 3600.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Packets:
    """IP packets at the sender's device: (N,) each.

    Args:
        at_s: seconds since the epoch.
        leaves: from sender to receiver.
        size: bytes, headers included.
    """

    at_s: Float64Array
    leaves: Float64Array
    size: Float64Array

    @classmethod
    def read(cls, path: Path) -> "Packets":
        """Reads the log of `tests.netlab.packet_log`."""
        rows = np.array([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], np.float64)
        rows = rows.reshape(-1, 3)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2])


def per_frame(packets: Packets, begin_s: float, intervals: int, fps: float = FPS) -> Float64Array:
    """(intervals, 2) bytes a frame: to the receiver, and back."""
    interval = np.floor((packets.at_s - begin_s) * fps / _INTERVAL_FRAMES).astype(int)
    inside = (interval >= 0) & (interval < intervals)
    size, where = np.zeros((intervals, 2)), (interval[inside], 1 - packets.leaves[inside].astype(int))
    np.add.at(size, where, packets.size[inside] / _INTERVAL_FRAMES)
    return size


def figures(packets: Packets, begin_s: float, intervals: int, fps: float = FPS) -> Figures:
    """Medians and means of the bytes a frame."""
    size = per_frame(packets, begin_s, intervals, fps)
    columns = {"wire": size[:, 0], "back": size[:, 1], "both": size.sum(axis=1)}
    found = {f"{name}_bytes_median": percentile(column, 50) for name, column in columns.items()}
    return found | {f"{name}_bytes_mean": float(column.mean()) for name, column in columns.items()}


def send_encrypted(
    rtt_ms: float,
    hold_ms: float,
    seconds: float,
    *source_flags: str,
    quic: bool = False,
    fps: float = FPS,
    sink_flags: Sequence[str] = (),
    link_kbit: float = math.inf,
) -> tuple[Sent, Packets]:
    """Runs sender and receiver over one link, of unlimited capacity or one that begins with the first frame.

    Raises:
        OutputError: a program failed; its error is printed above.
    """
    shape = Shape(None, rtt_ms / 2e3)
    thin = math.isfinite(link_kbit)
    forward = replace(shape, trace=Trace.steps((_CONNECTING_S, _AMPLE_KBIT), (_HOUR_S, link_kbit))) if thin else shape
    with (
        TwoHosts(forward, shape) as hosts,
        tempfile.TemporaryDirectory() as name,
        encrypted(quic=quic) as (source, sink),
    ):
        logged = Path(name) / "packets.jsonl"
        log = hosts.run(0, ["tests.netlab.packet_log", "--log", str(logged)])
        try:
            if not log.next_line_starts_with("ready"):
                raise OutputError("the packet log did not start; see its error above")
            start_at = ["--start-at", str(hosts.began_at_s + _CONNECTING_S)] if thin else []
            send_flags = ["--fps", str(fps), *source, *source_flags, *start_at]
            sent = send(hosts, seconds, send_flags, ["--hold-ms", str(hold_ms), *sink, *sink_flags])
        finally:
            log.terminate()
        return sent, Packets.read(logged)


def measure(rtt_ms: float, hold_ms: float, seconds: float, *, fps: float, quic: bool) -> Figures:
    """Measures one link."""
    sent, packets = send_encrypted(rtt_ms, hold_ms, seconds, fps=fps, quic=quic)
    began_s = sent.source[0]["began_at"] + _SETTLING_S
    sizes = [line["bytes"] for line in sent.shown]
    intervals = int((seconds - _SETTLING_S) * fps / _INTERVAL_FRAMES)
    payload_bytes = percentile(np.array(sizes[-intervals * _INTERVAL_FRAMES :], np.float64), 50)
    found = {"shown": len(sizes) / (seconds * fps), "payload_bytes": payload_bytes}
    counted_bytes = float(packets.size.sum())
    found |= {"counted_bytes": counted_bytes, "account_error": sent.source[-1]["link_bytes"] / counted_bytes - 1}
    return found | figures(packets, began_s, intervals, fps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("wire", __doc__, 1)
    parser.add_argument("--rtt-ms", type=float, nargs="+", default=RTT_MS, help="round trips (default: %(default)s)")
    parser.add_argument(
        "--hold-ms", type=float, nargs="+", default=HOLD_MS, help="reconstruction times (default: %(default)s)"
    )
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second (default: %(default)g)")
    parser.add_argument("--quic", action="store_true", help="over QUIC instead of gRPC")
    report.add_amount(parser, "--seconds", "per link", 30.0, 15.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    seconds = options.seconds
    systems: dict[str, Figures] = {}
    for rtt_ms in options.rtt_ms:
        for hold_ms in options.hold_ms:
            name = f"round trip {rtt_ms:g} ms, reconstruction {hold_ms:g} ms"
            systems[name] = measure(rtt_ms, hold_ms, seconds, fps=options.fps, quic=options.quic)
            report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"labels at {options.fps:g} frames a second, TLS, {seconds:g} s a link")


if __name__ == "__main__":
    sys.exit(main())
