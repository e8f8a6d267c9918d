"""Source and logging receiver over QUIC in one process and in simulated time, for machines that are busy.

`python -m tests.netlab.virtual_quic --peer 10.77.0.2:50051 --tls-ca … --tls-cert … --tls-key … --out FILE` sends what
`tests.netlab.source` sends with the same flags.  Everything is the daemons' own but clocks and sockets: computing takes
no time, and packets take the time of their pipe.  FILE gets lines of the source, of the receiver, and of packets, as
(seconds, leaves, bytes) at the sender's device.
"""

import time
from typing import Any

# Before anything else keeps the system's clocks.
_EPOCH_S = time.time()
_LOOPS: list[Any] = []
time.monotonic = lambda: _LOOPS[0].now_s if _LOOPS else 0.0
time.time = lambda: _EPOCH_S + time.monotonic()

import argparse  # noqa: E402
import asyncio  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402

from common.codec.packet import CODEC_VERSION  # noqa: E402
from receiver.config import ListenConfig, SecurityConfig  # noqa: E402
from receiver.link.server import LinkServer  # noqa: E402
from tests.netlab import source  # noqa: E402
from tests.netlab.logging_receiver import LoggingPipeline  # noqa: E402
from tests.netlab.pipe import Shape  # noqa: E402
from tests.netlab.programs import MODEL  # noqa: E402
from tests.netlab.traces import Trace  # noqa: E402
from tests.support.link.path import VirtualLoop  # noqa: E402

_AMPLE_KBIT, _HOUR_S = 8000.0, 3600.0


def _step(text: str) -> tuple[float, float]:
    """Seconds and kbit/s of `SECONDS:KBIT`."""
    seconds, kbit = text.split(":")
    return float(seconds), float(kbit)


async def _run(options: argparse.Namespace, log: io.StringIO) -> None:
    listen = options.peer
    server = LinkServer(
        ListenConfig(listen=listen, quic=True),
        LoggingPipeline(log, {}, None, options.hold_ms / 1e3, with_labels=True),
        model_hash=MODEL,
        codec_version=CODEC_VERSION,
        security=SecurityConfig(tls_cert=options.tls_cert, tls_key=options.tls_key),
    )
    # Of a host that is simulated, no socket can be bound.
    server._quic._bound = SimpleNamespace(getsockname=lambda: (listen.host, listen.port))
    await server._quic.start()
    await source.send(options, source.people_of(options))


def main() -> None:
    parser = source.flags("tests.netlab.virtual_quic")
    parser.add_argument("--tls-cert", type=Path, required=True)
    parser.add_argument("--tls-key", type=Path, required=True)
    parser.add_argument("--rtt-ms", type=float, default=60.0)
    parser.add_argument("--hold-ms", type=float, default=10.0)
    parser.add_argument("--link-kbit", type=float, help="capacity towards the receiver; without it there is no limit")
    parser.add_argument(
        "--connecting-s", type=float, default=5.0, help="before the first frame, over an ample link; 0: as it is"
    )
    parser.add_argument(
        "--steps", type=_step, nargs="*", default=[], help="SECONDS:KBIT, capacities before that, both ways"
    )
    parser.add_argument("--cut", type=float, nargs=2, help="from and to, seconds after the first frame")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost in each direction")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.quic, options.start_at = True, _EPOCH_S + options.connecting_s
    thin = (_HOUR_S, options.link_kbit or _AMPLE_KBIT)
    connecting = [(options.connecting_s, _AMPLE_KBIT)] if options.connecting_s else []
    trace = Trace.steps(*connecting, *options.steps, thin)
    outages = [tuple(options.connecting_s + at_s for at_s in options.cut)] if options.cut else []
    there = Shape(trace, options.rtt_ms / 2e3, options.loss, outages)
    thin_back = options.steps or not options.connecting_s
    back = replace(there, trace=trace if thin_back else None, seed=there.seed + 1)
    loop = VirtualLoop()
    _LOOPS.append(loop)
    loop.path.shape(there, back)
    printed, log = io.StringIO(), io.StringIO()
    running = asyncio.Runner(loop_factory=lambda: loop)
    with source.bypassed(options.bypass), contextlib.redirect_stdout(printed), running:
        running.run(_run(options, log))
    sent, shown = ([json.loads(line) for line in text.getvalue().splitlines()] for text in (printed, log))
    packets = [
        (_EPOCH_S + (packet.sent_s if packet.forward else packet.arrives_s), packet.forward, packet.ip_bytes)
        for packet in loop.path.packets
        if packet.arrives_s is not None
    ]
    options.out.write_text(json.dumps({"source": sent, "shown": shown, "packets": packets}), "utf-8")


if __name__ == "__main__":
    main()
