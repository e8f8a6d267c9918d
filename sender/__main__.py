"""The sender's command line: `sender --camera SOURCE --peer HOST:PORT`."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import torch

from common.errors import exit_code_of
from common.io.configuration import Program, read_config
from common.version import version_line
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


PROGRAM = Program(
    name="sender",
    description="Finds people in the pictures of a camera or file, turns them into about 50 bytes of semantic labels\n"
    "a frame, and streams the labels to a receiver, which rebuilds the people as 3D meshes.",
    examples=(
        ("sender", "send the clip that ships with the package to a receiver on this machine"),
        (
            "sender --camera 0 --peer 192.168.1.7:50051 --insecure",
            "send the first camera to another machine without encryption; the receiver needs --insecure too",
        ),
        (
            "sender --camera talk.mp4 --peer receiver.example --tls-ca certs/ca.pem --preview seen.mp4",
            "send a video, encrypted; write what was seen in it to seen.mp4",
        ),
    ),
    version=lambda: version_line("sender"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender and returns its exit code."""

    def work() -> None:
        config = read_config(SenderConfig, PROGRAM, arguments)
        config.logging.start("sender")
        # The networks are small: with more threads than one, they compete for the few cores.
        torch.set_num_threads(1)
        asyncio.run(send(config))

    return exit_code_of("sender", work)


if __name__ == "__main__":
    sys.exit(main())
