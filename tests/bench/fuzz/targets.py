"""What decodes bytes of strangers, as targets of a fuzzer: inputs to begin with, and what may be raised.

Imported by the fuzzer's process alone, which instruments what is imported here.
"""

import copy
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE, POINTS
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CHECK_SIZE
from common.codec.snapshot import decode_snapshot
from common.codec.tables import load
from common.errors import MalformedPacket, RecordingError, WireError
from common.frames import check_frame
from common.recording.block import BlockKind, encode_block
from common.recording.facts import RecordingFacts
from common.recording.reader import Recording
from common.recording.records import (
    Record,
    RecordedFrame,
    RecordedState,
    decode_blob,
    decode_records,
    encode_blob,
    encode_records,
)
from common.recording.writer import file_head
from common.texture import atlas_tiles, point_colours
from tests.support.packet_mutations import stream, with_right_check

Seeds = Callable[[], Iterator[bytes]]
Decode = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A decoder.

    Args:
        seeds: valid inputs.
        decode: decodes one input; raises AssertionError if what it accepts is not valid.
        refusals: exceptions that a decoder may raise; all others are faults.
    """

    seeds: Seeds
    decode: Decode
    refusals: tuple[type[Exception], ...]


class Packets:
    """Frames behind a clip of two people that the decoder has decoded; each input begins from the same decoder."""

    def __init__(self) -> None:
        self._decoder, self._packets, _ = stream()
        self._sequence = len(self._packets)

    def seeds(self) -> Iterator[bytes]:
        return iter(self._packets)

    def bodies(self) -> Iterator[bytes]:
        """The clip's packets without their checks."""
        return (packet[:-CHECK_SIZE] for packet in self._packets)

    def decode(self, data: bytes) -> None:
        """Decodes a packet, which the check will refuse."""
        decoder = self._fresh()
        before = list(decoder._received)
        try:
            check_frame(decoder.decode(data, self._sequence).frame)
        except WireError:
            assert list(decoder._received) == before, "a refused packet has changed the decoder"
            raise

    def decode_sealed(self, body: bytes) -> None:
        """Decodes a body with the check that belongs to it, so that its content is what decides."""
        self.decode(with_right_check(self._decoder, body, self._sequence))

    def _fresh(self) -> FrameCodec:
        decoder = copy.copy(self._decoder)
        decoder._received = OrderedDict(self._decoder._received)
        return decoder


class Recordings:
    """Whole files, and the content of their blocks."""

    def __init__(self) -> None:
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        handle, name = tempfile.mkstemp(suffix=".bw", dir=folder)
        os.close(handle)
        self._path = Path(name)
        decoder, packets, _ = stream()
        frames = [RecordedFrame(number, 33_333 * number, 0, not number, data) for number, data in enumerate(packets)]
        self._records: list[Record] = [*frames[:12], RecordedState(11, decoder.snapshot()), *frames[12:]]

    def blocks(self) -> Iterator[bytes]:
        """A block of records, and one record alone."""
        yield encode_records(self._records)
        yield encode_records(self._records[:1])

    def files(self) -> Iterator[bytes]:
        """A recording with frames and a blob."""
        facts = RecordingFacts(2, "00" * 8, "sender", "0", "clip", live=False, began_at=0.0)
        frames = encode_block(BlockKind.ENTRY_POINT, encode_records(self._records))
        yield file_head(facts) + frames + encode_block(BlockKind.BLOB, encode_blob(Blob(TEXTURE, 3, b"data")))

    def read(self, data: bytes) -> None:
        """Opens a file and reads all of it."""
        self._path.write_bytes(data)
        with Recording(self._path) as recording:
            assert recording.duration_us >= 0
            for _ in recording.read():
                pass


def colours() -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (POINTS, 3)).astype(np.uint8)
    for share in (0.0, 0.02, 1.0):
        yield point_colours.encode(rgb, rng.random(POINTS) < share)


def tiles() -> Iterator[bytes]:
    """A tile that is known in part, and a withdrawn one."""
    rng = np.random.default_rng(2)
    side = ATLAS_SIZE
    rgb = np.full((side, side, 3), 128, np.uint8)
    yield atlas_tiles.encode(atlas_tiles.TILES[0], rgb, rng.random((side, side)) < 0.5)
    yield atlas_tiles.WITHDRAWN


def decode_tile(data: bytes) -> None:
    """Decodes the coarsest tile."""
    atlas_tiles.decode(atlas_tiles.TILES[0], data)


def targets() -> Mapping[str, Target]:
    packets, recordings = Packets(), Recordings()
    decoder, *_ = stream()
    return {
        "packet": Target(packets.seeds, packets.decode, (WireError,)),
        "content": Target(packets.bodies, packets.decode_sealed, (WireError,)),
        "snapshot": Target(
            lambda: iter([decoder.snapshot()]), lambda data: void(decode_snapshot(data, load())), (MalformedPacket,)
        ),
        "colours": Target(colours, lambda data: void(point_colours.decode(data)), (MalformedPacket,)),
        "tile": Target(tiles, decode_tile, (MalformedPacket,)),
        "records": Target(recordings.blocks, lambda data: void(decode_records(data)), (RecordingError,)),
        "blob": Target(
            lambda: iter([encode_blob(Blob(TEXTURE, 3, b"data"))]),
            lambda data: void(decode_blob(data)),
            (RecordingError,),
        ),
        "recording": Target(recordings.files, recordings.read, (RecordingError,)),
    }


def void(_: object) -> None:
    """Drops a result that has nothing to check."""
