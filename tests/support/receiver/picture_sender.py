"""A sender without networks, run as a process: it sees as many people in a picture as the picture has rows, and in each
frame of a clip the same person.

Pictures of these widths make it fail: `DEADLY` ends the process, `SILENT` is never answered.
"""

import argparse
import asyncio
import os
import secrets
import sys
from pathlib import Path

import numpy as np

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.codec.packet import CODEC_VERSION
from common.errors import exit_code_of
from common.frames import LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import GROUPS
from common.texture.atlas import TILES
from common.texture.atlas import encode as encode_tile
from common.wire.convert import Hello
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.config import LinkConfig
from sender.link.client import LinkClient
from sender.link.diagnosis import SecurityConfig
from sender.link.transport import Transport

DEADLY, SILENT = 11, 12
DEADLY_EXIT_CODE = 3
MODEL_HASH_VARIABLE = "PICTURE_SENDER_MODEL_HASH"
"""In the environment: the receiver's model hash. To compute it here would take torch, which takes seconds to load."""


class Encoder:
    """The codec at its finest."""

    def __init__(self, codec: FrameCodec) -> None:
        self._codec = codec
        self.acknowledge, self.reset = codec.acknowledge, codec.reset
        self.expect, self.rewind = codec.expect, codec.rewind

    def offered(self, frame: LabelFrame) -> None: ...

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        return self._codec.encode_bundle(frames, {})


async def run(options: argparse.Namespace) -> None:
    networks = bytes.fromhex(os.environ[MODEL_HASH_VARIABLE])
    with open_source(options.camera) as source:
        hello = Hello(
            secrets.token_bytes(16),
            "test",
            CODEC_VERSION,
            networks,
            source.live,
            session_secret=secrets.token_bytes(32),
        )
        transport = Transport(SecurityConfig(token_file=options.token_file))
        config = LinkConfig(peer=Address.parse(options.peer))
        link = LinkClient(config, hello, Encoder(FrameCodec(networks)), transport=transport)
        await link.connect()
        frames, seen = iter(source), 0
        while (frame := await asyncio.to_thread(next, frames, None)) is not None:
            if frame.camera.width == DEADLY:
                os._exit(DEADLY_EXIT_CODE)
            if frame.camera.width != SILENT:
                people = [0] if source.ends else [(seen + row) % 256 for row in range(frame.camera.height)]
                seen += len(people)
                await link.send(*labelled(frame, people))
        await (link.drain() if source.ends else link.close())


def labelled(frame: CapturedFrame, identities: list[int]) -> tuple[LabelFrame, list[Blob]]:
    """The frame with these people, and colours of all but the first of them, as red as the identity is high."""
    labels = {group.name: np.zeros(group.size, np.float32) for group in GROUPS}
    people = tuple(PersonLabels(identity, 0.9, labels) for identity in identities)
    blobs = []
    for identity in identities[1:]:
        colours = np.tile(np.array([identity, 0, 0], np.uint8), (ATLAS_SIZE, ATLAS_SIZE, 1))
        data = encode_tile(TILES[0], colours, np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_))
        blobs.append(Blob(TEXTURE, TILES[0].key(identity), data))
    return LabelFrame(frame.sequence, frame.source, frame.captured_at, frame.camera, people), blobs


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in (
        "--camera",
        "--peer",
        "--log-level",
        "--policy",
        "--fixed-f",
        "--connect-timeout",
        "--reconnect-timeout",
        "--transport",
    ):
        parser.add_argument(flag)
    parser.add_argument("--token-file", type=Path)
    given = parser.parse_args()
    sys.exit(exit_code_of("sender", lambda: asyncio.run(run(given))))
