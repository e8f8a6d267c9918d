"""Mutated packets, files and messages in bulk, through the decoders, in this process.

    content     a packet's content, with the check that belongs to it
    honest      absurd labels, whose packets must be decoded
    snapshot    the state of a decoder, in recordings
    recording   a recording's file
    records     its block of frames
    tile        a tile of a texture atlas
    message, answer   protobuf of a sender, and of a receiver
    video       a video file, fewer of them

Everything but the refusal of a decoder is a fault.
"""

import copy
import logging
import tempfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CHECK_SIZE, code_references, seal
from common.codec.range_coder import SymbolReader
from common.codec.snapshot import decode_snapshot
from common.codec.tables import load
from common.errors import SourceError, WireError
from common.frames import PersonLabels, check_frame
from common.labels import GROUP_NAMES, LABEL_SIZE, split
from common.recording.block import BlockKind, encode_block
from common.recording.facts import RecordingFacts
from common.recording.reader import Recording
from common.recording.records import RecordedFrame, decode_records, encode_blob, encode_records
from common.recording.writer import file_head
from common.texture import atlas_tiles
from common.wire.convert import ClientMessages, ServerMessages
from sender.capture.video import VideoFileSource
from tests.netlab.hostile_packets import hostile_answers, hostile_messages, mutations
from tests.support.demo_clip import beginning
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip, frame_of

_MOST_FAULTS = 10
_SEEDS = 50


REFUSALS = (WireError, SourceError)


@dataclass(frozen=True)
class Target:
    """A decoder: valid inputs, what decodes one, and its share of inputs; all errors but `REFUSALS` are faults."""

    seeds: Callable[[], Iterator[bytes]]
    decode: Callable[[bytes], object]
    share: float = 1.0


def targets() -> Mapping[str, Target]:
    """Decoders that begin anew with each input."""
    decoder, packets = _stream()
    sequence = len(packets)

    def content(body: bytes) -> None:
        fresh = copy.copy(decoder)
        fresh._received = OrderedDict(decoder._received)
        lags = code_references(SymbolReader(load(), body), None)
        packet = seal(body, decoder._seed((sequence,), decoder._find_references(sequence, lags)))
        check_frame(fresh.decode(packet, sequence).frame)

    def absurd(messages: Callable[[np.random.Generator], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
        return lambda: islice(messages(np.random.default_rng(1)), _SEEDS)

    return {
        "honest": Target(lambda: iter([bytes(range(12))]), _send_and_decode),
        "content": Target(lambda: (packet[:-CHECK_SIZE] for packet in packets), content),
        "snapshot": Target(lambda: iter([decoder.snapshot()]), decode_snapshot),
        "recording": Target(lambda: iter([_recording(packets)]), _read),
        "records": Target(lambda: iter([encode_records(_records(packets))]), decode_records),
        "tile": Target(_tiles, lambda data: atlas_tiles.decode(atlas_tiles.TILES[0], data)),
        "message": Target(absurd(hostile_messages), lambda data: ClientMessages().decode(data)),
        "answer": Target(absurd(hostile_answers), lambda data: ServerMessages().decode(data)),
        "video": Target(lambda: map(_video, (".mp4", ".mkv", ".ts", ".avi")), _play, share=0.01),
    }


def _stream() -> tuple[FrameCodec, list[bytes]]:
    """A decoder that has decoded a clip, and the clip's packets."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets = []
    for frame in clip(24, seed=40, people=2):
        encoder.acknowledge(frame.sequence - 2)
        packets.append(encoder.encode(frame, FINE_RHO).payload)
        decoder.decode(packets[-1], frame.sequence)
    return decoder, packets


def _send_and_decode(data: bytes) -> None:
    """Two packets of labels that are equal in each group, as far from their prediction as the codec takes them."""
    rng, encoder, decoder = np.random.default_rng(zlib.crc32(data)), FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    for sequence in (0, int(rng.integers(1, 3000))):
        groups = rng.choice(GROUP_NAMES, rng.integers(1, len(GROUP_NAMES) + 1), replace=False)
        labels = split(np.full(LABEL_SIZE, rng.choice((-32.0, 0.0, 32.0)), np.float32))
        frame = frame_of(sequence, PersonLabels(0, 0.9, {name: labels[name] for name in groups}))
        encoded = encoder.encode(frame, dict.fromkeys(GROUP_NAMES, float(rng.random())))
        encoder.acknowledge(sequence)
        try:
            decoder.decode(encoded.payload, sequence)
        except WireError as error:
            raise AssertionError(f"an honest packet is refused: {error}") from error


def _records(packets: Sequence[bytes]) -> list[RecordedFrame]:
    return [RecordedFrame(number, 33_333 * number, not number, data) for number, data in enumerate(packets)]


def _recording(packets: Sequence[bytes]) -> bytes:
    """A file with frames and a blob."""
    facts = RecordingFacts(2, "00" * 8, "sender", "0", "clip", live=False)
    frames = encode_block(BlockKind.ENTRY_POINT, encode_records(_records(packets)))
    return file_head(facts) + frames + encode_block(BlockKind.BLOB, encode_blob(Blob(TEXTURE, 3, b"data")))


def _read(data: bytes) -> None:
    """Opens a file and reads all of it."""
    with tempfile.NamedTemporaryFile(suffix=".bw") as file:
        file.write(data)
        file.flush()
        with Recording(Path(file.name)) as recording:
            for _ in recording.read():
                pass


def _video(suffix: str) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        return beginning(Path(file.name), 3).read_bytes()


def _play(data: bytes) -> None:
    """Plays a file, without its warnings."""
    logger = logging.getLogger(VideoFileSource.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(data)
            with VideoFileSource(Path(file.name)) as source:
                for _ in source:
                    pass
    finally:
        logger.setLevel(level)


def _tiles() -> Iterator[bytes]:
    """A tile that is known in part, and a withdrawn one."""
    rng = np.random.default_rng(2)
    rgb = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 128, np.uint8)
    yield atlas_tiles.encode(atlas_tiles.TILES[0], rgb, rng.random((ATLAS_SIZE, ATLAS_SIZE)) < 0.5)
    yield atlas_tiles.WITHDRAWN


def mutate(target: Target, inputs: float, seed: str) -> tuple[dict[str, float], list[str]]:
    """Random mutations of a decoder's inputs; counts and faults."""
    rng, counts, faults = np.random.default_rng(zlib.crc32(seed.encode())), Counter[str](), list[str]()
    damaged = [mutations(rng, data) for data in target.seeds() if data]
    while counts["inputs"] < inputs and len(faults) < _MOST_FAULTS:
        data = next(damaged[int(rng.integers(len(damaged)))])
        counts["inputs"] += 1
        try:
            target.decode(data)
        except REFUSALS:
            counts["refused"] += 1
        except Exception as error:
            faults.append(f"{type(error).__name__} ({error}) by {data[:500].hex()}")
    return {name: float(count) for name, count in counts.items()}, faults


def attack(inputs: float, seed: str) -> tuple[dict[str, float], list[str]]:
    """So many inputs of each decoder; counts and faults by their names."""
    found = {name: mutate(target, inputs * target.share, f"{seed} {name}") for name, target in targets().items()}
    counts = {f"{name}_{key}": value for name, (own, _) in found.items() for key, value in own.items()}
    return counts, [f"{name}: {fault}" for name, (_, faults) in found.items() for fault in faults]
