"""Many senders in one process.

`python -m tests.netlab.load_senders --peer H:P --recording FILE --senders N --start-at T --log FILE`

Each plays the recording at its frame rate through a link of its own, loses nothing, and starts at a different fraction
of a frame.  `--log` gets an array with one row per acknowledged frame: when it was due (seconds since the epoch), and
seconds from then to the acknowledgement.  One line of JSON on standard output gives the number of frames of each.
"""

import argparse
import asyncio
import json
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.frames import Camera, LabelFrame
from common.io.addresses import Addresses
from sender.congestion.samples import LinkSample
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import LinkObserver
from tests.netlab.programs import MODEL, new_hello
from tests.netlab.recording import FPS, RecordedPacket, read

_CAMERA = Camera(640, 480, 600.0)


class Player:
    """Replays packets that were encoded before; it cannot encode them again."""

    def __init__(self, packets: Sequence[RecordedPacket]) -> None:
        self._packets = packets

    def encode(self, frame: LabelFrame) -> RecordedPacket:
        return self._packets[frame.sequence]

    def acknowledge(self, sequence: int) -> None: ...

    def reset(self) -> None: ...


class Stopwatch(LinkObserver):
    """Records how long after they were due frames were acknowledged, of all senders together."""

    def __init__(self) -> None:
        self.pairs = array("d")

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self.pairs.extend((frame.captured_at, time.time() - frame.captured_at))


async def play(link: LinkClient, frames: int, begin_s: float) -> int:
    """Runs one sender from `begin_s` (since the epoch) on; returns how many frames it sent."""
    await link.connect()
    due_s = begin_s
    for sequence in range(frames):
        await asyncio.sleep(max(0.0, due_s - time.time()))
        # A delayed sender continues at its frame rate and does not catch up.
        due_s = max(due_s, time.time() - 1 / FPS)
        if due_s > begin_s + frames / FPS:
            frames = sequence
            break
        await link.send(LabelFrame(sequence, "recorded", due_s, _CAMERA, ()))
        due_s += 1 / FPS
    await link.drain()
    return frames


async def run(options: argparse.Namespace) -> None:
    packets, stopwatch = read(options.recording), Stopwatch()
    links = [
        LinkClient(
            LinkConfig(peer=options.peer, connect_timeout=30.0),
            new_hello(f"load-{number}", options.model, live=False),
            Player(packets),
            observer=stopwatch,
        )
        for number in range(options.senders)
    ]
    shares = [number / len(links) / FPS for number in range(len(links))]
    sent = await asyncio.gather(
        *(play(link, len(packets), options.start_at + share) for link, share in zip(links, shares, strict=True))
    )
    np.save(options.log, np.frombuffer(stopwatch.pairs).reshape(-1, 2))
    print(json.dumps({"sent": sent}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.load_senders")
    parser.add_argument("--peer", type=Addresses.parse, required=True)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--senders", type=int, required=True)
    parser.add_argument("--start-at", type=float, required=True, help="when the first frames are due, since the epoch")
    parser.add_argument("--model", type=bytes.fromhex, default=MODEL, help="model hash, hexadecimal")
    parser.add_argument("--log", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
