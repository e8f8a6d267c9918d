"""Senders of frames with any number of people in one process: a codec and a link, without camera and networks.

`python -m tests.netlab.label_senders --peer H:P --labels FILE --people N --senders N --source NAME --token-file FILE`

Each encodes people of the file at 30 frames a second, in a live session (`--live`: newer frames replace those that
wait) or in one that loses nothing and sends as fast as the receiver acknowledges.  One line of JSON on standard output
gives the number of frames that each sent and how many of them were acknowledged.
"""

import argparse
import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Addresses
from common.labels import GROUP_NAMES, split
from common.wire.convert import Hello
from sender.congestion.samples import LinkSample
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import LinkObserver
from sender.link.session import Payload
from sender.link.transport.security import SecurityConfig
from sender.link.transport.transport import Transport
from tests.netlab.recording import FPS

_CAMERA = Camera(640, 480, 600.0)
_RHO = dict.fromkeys(GROUP_NAMES, 0.2)


class Encoder:
    """The codec at one compression."""

    def __init__(self, model: bytes) -> None:
        self._codec = FrameCodec(model)
        self.acknowledge, self.reset = self._codec.acknowledge, self._codec.reset

    def encode(self, frame: LabelFrame) -> Payload:
        return self._codec.encode(frame, _RHO)


class Counter(LinkObserver):
    """Counts acknowledged frames."""

    def __init__(self) -> None:
        self.count = 0

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self.count += 1


def crowd(people: Sequence[PersonLabels], sequence: int, size: int) -> tuple[PersonLabels, ...]:
    """People of a frame: each moves through the recording from another starting point."""
    step = len(people) // size
    return tuple(
        PersonLabels(number, 1.0, people[(sequence + number * step) % len(people)].labels) for number in range(size)
    )


async def play(link: LinkClient, people: Sequence[PersonLabels], options: argparse.Namespace) -> int:
    """Runs one sender; returns how many frames it offered."""
    await link.connect()
    due_s, sequence = options.start_at, 0
    while due_s < options.start_at + options.seconds:
        await asyncio.sleep(max(0.0, due_s - time.time()))
        frame = LabelFrame(sequence, options.source, time.time(), _CAMERA, crowd(people, sequence, options.people))
        await link.send(frame)
        sequence += 1
        due_s = max(due_s + 1 / FPS, time.time())
    await link.close()
    return sequence


async def run(options: argparse.Namespace) -> None:
    people = [PersonLabels(0, 1.0, split(row)) for row in np.load(options.labels)]
    counters = [Counter() for _ in range(options.senders)]
    links = [
        LinkClient(
            LinkConfig(peer=options.peer, connect_timeout=30.0),
            Hello(
                *(secrets.token_bytes(16), options.source, CODEC_VERSION, options.model, options.live),
                session_secret=secrets.token_bytes(32),
            ),
            Encoder(options.model),
            observer=counter,
            transport=Transport(SecurityConfig(token_file=options.token_file)),
        )
        for counter in counters
    ]
    sent = await asyncio.gather(*(play(link, people, options) for link in links))
    print(json.dumps({"sent": sent, "acknowledged": [counter.count for counter in counters]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.label_senders")
    parser.add_argument("--peer", type=Addresses.parse, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="array (T, 104) of one person's labels")
    parser.add_argument("--people", type=int, default=1, help="people in a frame")
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--source", required=True, help="name of the senders and of the source in their frames")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--start-at", type=float, required=True, help="when the first frames are due, since the epoch")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--model", type=bytes.fromhex, required=True, help="model hash, hexadecimal")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
