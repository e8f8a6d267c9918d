"""The way to a receiver, which breaks on signals: `python -m tests.netlab.faults.breakable_path --listen H:P --to H:P`.

SIGUSR1 cuts all connections, and lets nothing pass for a moment; SIGUSR2 stops UDP, or lets it pass again.
"""

import argparse
import asyncio
import signal
from collections.abc import Callable

from common.io.addresses import Address
from tests.netlab.programs import terminated
from tests.support.link.relays import BreakableRelay

_CUT_S = 0.2


class BreakablePath:
    """Relays TCP and UDP from one port."""

    def __init__(self, to: Address) -> None:
        self._relay, self._udp = BreakableRelay(to), True

    async def start(self, port: int) -> None:
        """Listens; the handlers of the signals are in place then."""
        self._loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {signal.SIGUSR1: self.cut, signal.SIGUSR2: self.stop_udp}
        for number, handler in handlers.items():
            self._loop.add_signal_handler(number, handler)
        await self._relay.start(port)

    def cut(self) -> None:
        """Cuts for a moment."""
        self._relay.cut()
        self._relay.pass_on(tcp=False, udp=False)
        self._loop.call_later(_CUT_S, self._restore)

    def stop_udp(self) -> None:
        """Stops UDP, or lets it pass again."""
        self._udp = not self._udp
        self._relay.pass_on(udp=self._udp)

    def _restore(self) -> None:
        self._relay.cut()
        self._relay.pass_on(udp=self._udp)


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
