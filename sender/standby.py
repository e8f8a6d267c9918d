"""A sender that loads what takes seconds before it is told what to send: `python -m sender.standby OPTION...`.

Its further options come on stdin, separated by NUL, once there is something to send; without any it ends.
"""

import sys
from collections.abc import Sequence

from common.io.command_line import read_config
from common.io.startup import announce, leave, run_program
from sender.__main__ import PROGRAM


def _work(arguments: Sequence[str]) -> None:
    from common.io.logs import start_logging
    from common.weights.graph_cache import GRAPHS
    from sender.config import SenderConfig

    config = read_config(SenderConfig, PROGRAM, arguments)
    start_logging(config.logging, "sender")
    GRAPHS.read_ahead("standby")
    from common.weights.devices import resolve_device
    from common.weights.threads import limit_threads
    from sender.attributes.kind_reader import KindReader
    from sender.composition import send
    from sender.labelling import Networks

    limit_threads()
    networks = Networks.load(config)
    KindReader.load(resolve_device(config.device.device))
    networks.perception.prepare_stills()
    GRAPHS.note_start()
    if further := sys.stdin.read():
        from sender.openings import opened

        config = read_config(SenderConfig, PROGRAM, [*arguments, *further.split("\0")])
        config.check()
        with opened(config, greets=False) as openings:
            send(openings, announce, networks)


if __name__ == "__main__":
    leave(run_program(PROGRAM, _work, None))
