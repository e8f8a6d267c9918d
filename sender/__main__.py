"""The sender's command line: `sender --camera SOURCE --peer host:port`."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import torch

from common.errors import exit_code_of
from common.io.configuration import read_config
from sender.composition import SenderConfig, compose


async def send(config: SenderConfig) -> None:
    """Sends until the source ends, or until SIGTERM or SIGINT; then waits for the last acknowledgements."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    with compose(config) as sender:
        await sender.run(stop)
        for line in sender.summary():
            print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender and returns its exit code."""

    def work() -> None:
        config = read_config(SenderConfig, "sender", arguments)
        config.logging.start("sender")
        # The networks are small: with more threads than one, they compete for the few cores.
        torch.set_num_threads(1)
        asyncio.run(send(config))

    return exit_code_of("sender", work)


if __name__ == "__main__":
    sys.exit(main())
