"""A sender that logs the events of its link, for one of two hosts: `python -m tests.netlab.logging_sender --peer H:P`.

Sends labels from a file, in a loop, at `--fps`, through codec and link.  `--log` gets one line per event, with the
time: `began`, `connected`, `disconnected`, `captured`, `sent` and `ended` (with the frame's fate).
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.codec.frame_state import EncodedFrame
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import split
from sender.config import LinkConfig
from sender.link.client import LinkClient
from sender.link.diagnosis import SecurityConfig
from sender.link.session import Fate, LinkObserver
from sender.link.transport import Transport
from tests.netlab.programs import MODEL, FixedRate, new_hello, terminated

CAMERA = Camera(640, 480, 600.0)


class Log(LinkObserver):
    """Writes one line per event."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, what: str, **more: Any) -> None:
        """Writes one line."""
        self._file.write(json.dumps({"what": what, "at": time.time(), **more}) + "\n")
        self._file.flush()

    def connected(self) -> None:
        self.write("connected")

    def disconnected(self, reason: str) -> None:
        self.write("disconnected", reason=reason)

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        for frame in frames:
            self.write("sent", seq=frame.sequence)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        self.write("ended", seq=frame.sequence, fate=fate.value)


async def send(options: argparse.Namespace, log: Log) -> None:
    """Sends until SIGTERM; a live source offers a frame at every tick, a file when there is room for it."""
    stop = terminated()
    people = [PersonLabels(0, 0.9, split(row)) for row in np.load(options.labels)]
    link = LinkClient(
        LinkConfig(peer=options.peer, connect_timeout=60.0),
        new_hello("logged", options.model, live=options.live),
        FixedRate(options.model),
        observer=log,
        transport=Transport(security(options)),
    )
    log.write("began")
    await link.connect()
    print("connected", flush=True)
    due_s, sequence = time.monotonic(), 0
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        # A file that had to wait continues at its frame rate and does not catch up.
        due_s = max(due_s, time.monotonic() - 1 / options.fps) + 1 / options.fps
        frame = LabelFrame(sequence, "logged", time.time(), CAMERA, (people[sequence % len(people)],))
        log.write("captured", seq=sequence, captured_at=frame.captured_at)
        await link.send(frame)
        sequence += 1
    await link.drain()


def security(options: argparse.Namespace) -> SecurityConfig:
    """The link is not encrypted, unless an authority is given."""
    return SecurityConfig(insecure=options.tls_ca is None, tls_ca=options.tls_ca, token_file=options.token_file)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.logging_sender")
    parser.add_argument("--peer", type=Address.parse, required=True)
    parser.add_argument("--labels", type=Path, required=True, help=".npy file of shape (frames, labels)")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--live", action="store_true", help="drop stale frames")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--model", type=bytes.fromhex, default=MODEL, help="model hash, hexadecimal")
    parser.add_argument("--tls-ca", type=Path)
    parser.add_argument("--token-file", type=Path)
    options = parser.parse_args()
    with open(options.log, "a", encoding="utf-8") as file:
        asyncio.run(send(options, Log(file)))


if __name__ == "__main__":
    main()
