"""Many senders in one process.

`python -m tests.netlab.load_senders --peer H:P --recording FILE --senders N --start-at T --log FILE`

Each plays the recording through a link of its own, loses nothing, and starts at a different fraction of a frame.  With
`--encode` it decodes the recording before and encodes it again, in a loop of `--frames`; with `--live` it drops stale
frames, too.  `--log` gets an array with one row per acknowledged frame: when it was due (seconds since the epoch),
seconds from then to the acknowledgement, number of the sender.  One line of JSON on standard output gives for each
sender the numbers of its frames and of those whose fate is known, the seconds of its first handshake, and the times
of all its handshakes.
"""

import argparse
import asyncio
import json
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Addresses
from common.wire.convert import Welcome
from sender.congestion.samples import LinkSample
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import Fate, LinkObserver
from sender.link.transport.security import SecurityConfig
from sender.link.transport.transport import Transport
from tests.netlab.programs import MODEL, FixedRate, new_hello
from tests.netlab.recording import FPS, RecordedPacket, read

_CAMERA = Camera(640, 480, 600.0)

People = Sequence[Sequence[PersonLabels]]
"""The people of each frame."""


class Player:
    """Replays packets that were encoded before; it cannot encode them again."""

    def __init__(self, packets: Sequence[RecordedPacket]) -> None:
        self._packets = packets

    def encode(self, frame: LabelFrame) -> RecordedPacket:
        return self._packets[frame.sequence]

    def acknowledge(self, sequence: int) -> None: ...

    def reset(self) -> None: ...


class Stopwatch(LinkObserver):
    """Records how long after they were due a sender's frames were acknowledged, and when it connected.

    Args:
        rows: of all senders together, as in `--log`.
    """

    def __init__(self, number: int, rows: "array[float]") -> None:
        self._number, self._rows = number, rows
        self.connected_at: list[float] = []
        self.frames_ended = 0

    def connected(self, welcome: Welcome) -> None:
        self.connected_at.append(time.time())

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self._rows.extend((frame.captured_at, time.time() - frame.captured_at, self._number))

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        self.frames_ended += 1


async def play(link: LinkClient, frames: int, begin_s: float, fps: float, people: People) -> tuple[int, float]:
    """Runs one sender from `begin_s` (since the epoch) on; returns how many frames it sent, and seconds to connect."""
    asked_s = time.monotonic()
    await link.connect()
    connect_s = time.monotonic() - asked_s
    due_s = begin_s
    for sequence in range(frames):
        await asyncio.sleep(max(0.0, due_s - time.time()))
        # A delayed sender continues at its frame rate and does not catch up.
        due_s = max(due_s, time.time() - 1 / fps)
        if due_s > begin_s + frames / fps:
            frames = sequence
            break
        await link.send(LabelFrame(sequence, "recorded", due_s, _CAMERA, tuple(people[sequence % len(people)])))
        due_s += 1 / fps
    await link.drain()
    return frames, connect_s


def decode(packets: Sequence[RecordedPacket], model: bytes) -> People:
    """The people in a recording."""
    codec = FrameCodec(model)
    return [codec.decode(packet.payload, sequence).frame.people for sequence, packet in enumerate(packets)]


def security(folder: Path | None, number: int) -> SecurityConfig:
    """Mutual TLS with the certificate of sender `number` in the folder, or none without one."""
    if folder is None:
        return SecurityConfig()
    certificate, key = (folder / f"sender-{number}.{end}" for end in ("pem", "key"))
    return SecurityConfig(tls_ca=folder / "ca.pem", tls_cert=certificate, tls_key=key)


async def run(options: argparse.Namespace) -> None:
    packets, rows = read(options.recording), array("d")
    encodes = options.encode or options.live
    people: People = decode(packets, options.model) if encodes else [()]
    numbers = range(options.first, options.first + options.senders)
    stopwatches = [Stopwatch(number, rows) for number in numbers]
    links = [
        LinkClient(
            LinkConfig(peer=options.peer, connect_timeout=30.0),
            new_hello(f"load-{number}", options.model, live=options.live),
            FixedRate(options.model) if encodes else Player(packets),
            observer=stopwatch,
            transport=Transport(security(options.certificates, number)),
        )
        for number, stopwatch in zip(numbers, stopwatches, strict=True)
    ]
    begins = [options.start_at + number / len(links) / options.fps for number in range(len(links))]
    frames = options.frames or len(packets)
    played = await asyncio.gather(
        *(play(link, frames, begin_s, options.fps, people) for link, begin_s in zip(links, begins, strict=True))
    )
    np.save(options.log, np.frombuffer(rows).reshape(-1, 3))
    sent, connect_s = zip(*played, strict=True)
    connected_at = [stopwatch.connected_at for stopwatch in stopwatches]
    ended = [stopwatch.frames_ended for stopwatch in stopwatches]
    print(json.dumps({"sent": sent, "ended": ended, "connect_s": connect_s, "connected_at": connected_at}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.load_senders")
    parser.add_argument("--peer", type=Addresses.parse, required=True)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--senders", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first sender")
    parser.add_argument("--start-at", type=float, required=True, help="when the first frames are due, since the epoch")
    parser.add_argument("--fps", type=float, default=FPS)
    parser.add_argument("--frames", type=int, help="of each sender (default: those of the recording)")
    parser.add_argument("--encode", action="store_true", help="encode the frames here")
    parser.add_argument("--live", action="store_true", help="encode the frames here, and drop stale ones")
    parser.add_argument(
        "--certificates", type=Path, metavar="DIR", help="mutual TLS: ca.pem, sender-N.pem, sender-N.key"
    )
    parser.add_argument("--model", type=bytes.fromhex, default=MODEL, help="model hash, hexadecimal")
    parser.add_argument("--log", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
