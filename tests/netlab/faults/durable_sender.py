"""A sender with complete delivery on a faulty disk (`tests.netlab.faults.volatile_disk`), without camera and networks.

`python -m tests.netlab.faults.durable_sender --peer H:P --spool DIR --ledger FILE --journal DIR`

Captures a frame at every tick of `--fps` until SIGTERM, then sends the rest of the spool.  Frame n is the same each
time that it is made; its number is written to FILE when it is acknowledged.
"""

import argparse
import asyncio
import os
from contextlib import closing
from pathlib import Path

import numpy as np

from common.codec.packet import CODEC_VERSION
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import GROUPS
from common.wire.convert import Hello
from sender import spool
from sender.config import LinkConfig
from sender.link import connector
from sender.link.client import LinkClient
from sender.link.diagnosis import SecurityConfig
from sender.link.quic_transport import AutoTransport
from sender.link.session import Fate, LinkObserver
from sender.link.transport import Transport
from sender.spool import Spool, SpoolContent
from tests.netlab.faults import volatile_disk
from tests.netlab.programs import MODEL, FixedRate, terminated

# Small, so that segments begin and end between two kills.
_FRAMES_PER_SEGMENT = 8
# Receivers are killed again and again before there is progress.
_BACKOFF_S = 0.2


def captured_at(sequence: int) -> float:
    """Nominal capture time of frame n, rounded to the codec's milliseconds."""
    return 1_700_000_000.0 + sequence / 25


def frame_of(sequence: int) -> LabelFrame:
    """Frame n: one person who moves a little, with some of the labels, because coding takes most of a test's time."""
    random = np.random.default_rng(sequence)
    labels = {
        group.name: np.sin(sequence / 9 + random.normal(size=group.size) / 9).astype("f4") for group in GROUPS[:5]
    }
    return LabelFrame(
        sequence, "durable", captured_at(sequence), Camera(640, 480, 600.0), (PersonLabels(0, 1.0, labels),)
    )


class Ledger(LinkObserver):
    """Writes the numbers of acknowledged frames to a file at once; it is not on the volatile disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.ACKNOWLEDGED:
            os.write(self._file, b"%d\n" % frame.sequence)


async def send(options: argparse.Namespace) -> None:
    """Captures until SIGTERM, then sends until every frame is delivered."""
    stop = terminated()
    with closing(Spool(options.spool, SpoolContent("durable", CODEC_VERSION, MODEL), 1e8)) as waiting:
        print(f"session {waiting.session_id.hex()}", flush=True)
        hello = Hello(
            *(waiting.session_id, "durable", CODEC_VERSION, MODEL, False),
            resume=waiting.resumed,
            durable=True,
            session_secret=waiting.session_secret,
        )
        link = LinkClient(
            LinkConfig(peer=options.peer),
            hello,
            FixedRate(MODEL, 0.0),
            observer=Ledger(options.ledger),
            spool=waiting,
            transport=AutoTransport(Transport(SecurityConfig(options.tls_ca is None, options.tls_ca))),
        )
        await link.connect()
        while not stop.is_set():
            await link.send(frame_of(waiting.next_sequence))
            await asyncio.sleep(1 / options.fps)
        await link.drain()
        await link.close()
        print(f"delivered {waiting.next_sequence} frames", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.faults.durable_sender")
    parser.add_argument("--peer", type=Address.parse, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--tls-ca", type=Path, help="send encrypted, over QUIC if it is answered")
    volatile_disk.add_flags(parser)
    options = parser.parse_args()
    spool._FRAMES_PER_SEGMENT = _FRAMES_PER_SEGMENT
    connector._MAX_BACKOFF_S = connector._FIRST_STALL_BACKOFF_S = connector._MAX_STALL_BACKOFF_S = _BACKOFF_S
    volatile_disk.install(options, options.spool)
    asyncio.run(send(options))


if __name__ == "__main__":
    main()
