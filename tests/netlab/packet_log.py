"""Logs the IP packets of a network device: `python -m tests.netlab.packet_log --log FILE`, on one of two hosts.

Prints `ready` when it listens, and writes one line per packet until SIGTERM: time (seconds since the epoch), whether it
leaves the host, and its size in bytes, from the IP header on.
"""

import argparse
import json
import signal
import socket
import time
from pathlib import Path

from tests.netlab.relay import DEVICE

_ALL_PROTOCOLS = 0x0003
_MAX_PACKET_BYTES = 65_536
_POLL_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.packet_log")
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS)) as device,
        open(options.log, "w", encoding="utf-8") as log,
    ):
        device.bind((DEVICE, 0))
        device.settimeout(_POLL_S)
        print("ready", flush=True)
        while not stopped:
            try:
                packet, address = device.recvfrom(_MAX_PACKET_BYTES)
            except TimeoutError:
                continue
            log.write(json.dumps([time.time(), address[2] == socket.PACKET_OUTGOING, len(packet)]) + "\n")


if __name__ == "__main__":
    main()
