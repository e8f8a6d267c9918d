"""The way to a receiver, which breaks on signals: `python -m tests.netlab.faults.breakable_path --listen H:P --to H:P`.

SIGUSR1 cuts all connections, and lets nothing pass for a moment; SIGUSR2 stops UDP, or lets it pass again.
"""

import argparse
import asyncio
import signal
from collections.abc import Callable

from common.io.addresses import Address
from tests.netlab.programs import terminated
from tests.support.link.relays import TcpRelay, UdpRelay

_CUT_S = 0.2


class BreakablePath:
    """Relays TCP and UDP from one port."""

    def __init__(self, to: Address) -> None:
        self._tcp, self._udp = TcpRelay(to), UdpRelay(to, lambda: self._cut or self._without_udp)
        self._cut = self._without_udp = False

    async def start(self, port: int) -> None:
        """Listens; the handlers of the signals are in place then."""
        self._loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {signal.SIGUSR1: self.cut, signal.SIGUSR2: self.stop_udp}
        for number, handler in handlers.items():
            self._loop.add_signal_handler(number, handler)
        await self._tcp.start(port)
        await self._udp.start(port)

    def cut(self) -> None:
        """Cuts for a moment."""
        self._cut = True
        self._tcp.cut()
        self._tcp.dead = True
        self._loop.call_later(_CUT_S, self._restore)

    def stop_udp(self) -> None:
        """Stops UDP, or lets it pass again."""
        self._without_udp = not self._without_udp

    def _restore(self) -> None:
        self._cut = False
        self._tcp.cut()
        self._tcp.dead = False


async def run(listen: Address, to: Address) -> None:
    """Relays until SIGTERM."""
    stop, path = terminated(), BreakablePath(to)
    await path.start(listen.port)
    print("ready", flush=True)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.faults.breakable_path")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--to", type=Address.parse, required=True)
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.to))


if __name__ == "__main__":
    main()
