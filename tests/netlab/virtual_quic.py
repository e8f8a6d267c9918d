"""Source and logging receiver over QUIC in one process and in simulated time, for machines that are busy.

`python -m tests.netlab.virtual_quic --peer 10.77.0.2:50051 --tls-ca … --tls-cert … --tls-key … --out FILE` sends what
`tests.netlab.source` sends with the same flags.  Everything is the daemons' own but clocks and sockets: computing takes
no time, and packets take the time of their pipe.  FILE gets lines of the source, of the receiver, and of packets, as
(seconds, leaves, bytes) at the sender's device.
"""

import time

# Before anything else keeps the system's clocks.
_EPOCH_S, _NOW_S = time.time(), [0.0]
time.monotonic = lambda: _NOW_S[0]
time.time = lambda: _EPOCH_S + _NOW_S[0]

import argparse  # noqa: E402
import asyncio  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import selectors  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from common.body.label_space import LabelSpace  # noqa: E402
from common.codec.packet import CODEC_VERSION  # noqa: E402
from receiver.link.config import ListenConfig, SecurityConfig  # noqa: E402
from receiver.link.server import LinkServer  # noqa: E402
from tests.bench.rate import demo_truth  # noqa: E402
from tests.netlab import source  # noqa: E402
from tests.netlab.logging_receiver import LoggingPipeline  # noqa: E402
from tests.netlab.pipe import Pipe, Shape  # noqa: E402
from tests.netlab.programs import MODEL  # noqa: E402
from tests.netlab.traces import Trace  # noqa: E402

# Of IPv4 and UDP.
_HEADER_BYTES = 28
_AMPLE_KBIT, _HOUR_S = 8000.0, 3600.0
_SENDER = ("10.77.0.1", 40000)


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for the next timer, it is that time."""

    def select(self, timeout: float | None = None) -> Any:
        """See `selectors.BaseSelector.select`."""
        found = super().select(0)
        if not found and timeout:
            _NOW_S[0] += timeout
        return found


class _Port(asyncio.DatagramTransport):
    """A socket of one of the two hosts."""

    def __init__(self, network: "_Network", protocol: Any, address: Any, peer: Any) -> None:
        super().__init__({"sockname": address, "peername": peer})
        self.protocol, self.address, self._network = protocol, address, network

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Gives a packet to the link."""
        self._network.carry(data, self.address, addr or self.get_extra_info("peername"))

    def is_closing(self) -> bool:
        """Whether it is closed: never."""
        return False

    def close(self) -> None: ...


class _Network(asyncio.SelectorEventLoop):
    """An event loop in simulated time, whose datagram sockets are those of two hosts."""

    def __init__(self, forward: Shape, reverse: Shape) -> None:
        super().__init__(_Selector())
        self._pipes = {True: Pipe(forward), False: Pipe(reverse)}
        self._ports: dict[Any, _Port] = {}
        self.packets: list[tuple[float, int, int]] = []

    async def create_datagram_endpoint(self, factory: Any, *unused: Any, sock: Any = None, **more: Any) -> Any:  # type: ignore[override]
        """See `asyncio.loop`; a receiver's socket is its address."""
        address = _SENDER if sock is None else (sock.host, sock.port)
        port = self._ports[address] = _Port(self, factory(), address, more.get("remote_addr"))
        port.protocol.connection_made(port)
        return port, port.protocol

    def carry(self, data: bytes, origin: Any, target: Any) -> None:
        """Delivers a packet after its time on the link, or loses it."""
        leaves, size = origin == _SENDER, len(data) + _HEADER_BYTES
        arrives_s = self._pipes[leaves].offer(size, self.time())
        at_s = self.time() if leaves else arrives_s
        if at_s is not None:
            self.packets.append((_EPOCH_S + at_s, int(leaves), size))
        if arrives_s is not None:
            self.call_at(arrives_s, self._ports[target].protocol.datagram_received, data, origin)


async def _run(options: argparse.Namespace, log: io.StringIO) -> None:
    listen = options.peer.each[0]
    server = LinkServer(
        ListenConfig(listen=listen, quic=True),
        LoggingPipeline(log, {}, None, options.hold_ms / 1e3, with_labels=True),
        model_hash=MODEL,
        codec_version=CODEC_VERSION,
        security=SecurityConfig(tls_cert=options.tls_cert, tls_key=options.tls_key),
    )
    # Of a host that is simulated, no socket can be bound.
    server._quic._bound = listen
    await server._quic.start()
    await source.send(options, demo_truth(LabelSpace.load(), 0).people)


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
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.quic, options.start_at = True, _EPOCH_S + options.connecting_s
    shape = Shape(None, options.rtt_ms / 2e3)
    thin = (_HOUR_S, options.link_kbit or _AMPLE_KBIT)
    trace = Trace.steps(*([(options.connecting_s, _AMPLE_KBIT)] if options.connecting_s else []), thin)
    back = shape if options.connecting_s else Shape(trace, options.rtt_ms / 2e3)
    loop, printed, log = _Network(Shape(trace, options.rtt_ms / 2e3), back), io.StringIO(), io.StringIO()
    running = asyncio.Runner(loop_factory=lambda: loop)
    with source.bypassed(options.bypass), contextlib.redirect_stdout(printed), running:
        running.run(_run(options, log))
    sent, shown = ([json.loads(line) for line in text.getvalue().splitlines()] for text in (printed, log))
    options.out.write_text(json.dumps({"source": sent, "shown": shown, "packets": loop.packets}), "utf-8")


if __name__ == "__main__":
    main()
