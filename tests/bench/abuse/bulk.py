"""Hostile packets and messages in bulk, through the decoders, in this process.

    packet      a session's packets between mutated, absurd and rightly sealed ones: those must go on to decode right
    content     a packet's content, with the check that belongs to it
    snapshot    the state of a decoder, in recordings
    recording   a recording's file
    records     its block of frames
    tile        a tile of a texture atlas
    message, answer   protobuf of a sender, and of a receiver

Everything but the refusal of a decoder is a fault.
"""

import copy
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.packet import CHECK_SIZE
from common.codec.snapshot import decode_snapshot
from common.codec.tables import load
from common.errors import RecordingError, WireError
from common.frames import check_frame
from common.recording.block import BlockKind, encode_block
from common.recording.facts import RecordingFacts
from common.recording.reader import Recording
from common.recording.records import RecordedFrame, decode_records, encode_blob, encode_records
from common.recording.writer import file_head
from common.texture import atlas_tiles
from common.wire.convert import ClientMessages, ServerMessages
from tests.netlab.hostile_packets import HostilePacket, hostile_answers, hostile_frames, hostile_messages
from tests.support.label_motion import MODEL_HASH
from tests.support.packet_mutations import KINDS, mutated, same, stream, with_right_check

# Of one round over the valid stream: mutations before each of its packets; then mutations with right checks, and
# packets that are well-formed but absurd.
_MUTATED, _CHECKED, _ABSURD = 400, 48, 16
_HOSTILE = ("mutated", "right_check", "absurd")
_MOST_FAULTS = 10
_SEEDS = 50


class Packets:
    """One decoder under attack."""

    def __init__(self, seed: str) -> None:
        self._rng = Random(seed)
        self._decoder, self._packets, self._right = stream()
        self._absurd = hostile_frames(np.random.default_rng(self._rng.getrandbits(64)), FrameCodec(MODEL_HASH))
        self._number = 0
        # Whether the decoder has accepted another packet since the stream's key frame: then later ones may not decode.
        self._strayed = False
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def round(self) -> None:
        """Decodes the stream from its key frame on between mutations, then packets with right checks."""
        for sequence in range(len(self._packets)):
            self._hostile("mutated", self._mutations(), _MUTATED)
            self._valid(sequence)
        self._hostile("right_check", self._checked(), _CHECKED)
        self._hostile("absurd", self._absurd, _ABSURD)

    def _mutations(self) -> Iterator[HostilePacket]:
        while True:
            self._number += 1
            sequence, data = mutated(self._number, self._rng, self._packets)
            if data != self._packets[sequence]:
                yield HostilePacket(sequence, data)

    def _checked(self) -> Iterator[HostilePacket]:
        for sequence, data in self._mutations():
            try:
                yield HostilePacket(sequence, with_right_check(self._decoder, data[:-CHECK_SIZE], sequence))
            except WireError:
                self.counts["right_check_without_reference"] += 1

    def _hostile(self, kind: str, packets: Iterator[HostilePacket], number: int) -> None:
        for sequence, data in islice(packets, number):
            self.counts[kind] += 1
            if self._decode(data, sequence) is not None:
                self.counts[f"{kind}_accepted"] += 1
                self._strayed = True

    def _valid(self, sequence: int) -> None:
        """A key frame must decode right always, the others until the decoder accepts another packet."""
        self._strayed &= sequence > 0
        decoded = self._decode(self._packets[sequence], sequence)
        self.counts["valid"] += 1
        if not self._strayed and (decoded is None or not same(decoded, self._right[sequence])):
            self.faults.append(f"valid packet {sequence} is {'refused' if decoded is None else 'decoded wrongly'}")

    def _decode(self, data: bytes, sequence: int) -> DecodedFrame | None:
        try:
            decoded = self._decoder.decode(data, sequence)
            check_frame(decoded.frame)
        except WireError:
            self.counts["refused"] += 1
        except Exception as error:
            self.faults.append(f"{type(error).__name__} ({error}) by packet {sequence}: {data[:500].hex()}")
        else:
            return decoded
        return None


def attack_packets(packets: float, seed: str) -> tuple[dict[str, float], list[str]]:
    """Decodes at least so many hostile packets, or until faults are found; returns counts and faults."""
    attacker = Packets(seed)
    counts, done = attacker.counts, 0
    while done < packets and len(attacker.faults) < _MOST_FAULTS:
        attacker.round()
        done = sum(counts[kind] for kind in _HOSTILE)
    if counts["mutated_accepted"] > 4 + 2 * counts["mutated"] / 65_536:
        attacker.faults.append(f"{counts['mutated_accepted']} of {counts['mutated']} mutated packets passed the check")
    return {name: float(count) for name, count in counts.items()}, attacker.faults


REFUSALS = (WireError, RecordingError)


@dataclass(frozen=True)
class Target:
    """A decoder: valid inputs, and what decodes one; all errors but `REFUSALS` are faults."""

    seeds: Callable[[], Iterator[bytes]]
    decode: Callable[[bytes], object]


def targets() -> Mapping[str, Target]:
    """Decoders that begin anew with each input."""
    decoder, packets, _ = stream()
    sequence = len(packets)

    def content(body: bytes) -> None:
        fresh = copy.copy(decoder)
        fresh._received = OrderedDict(decoder._received)
        check_frame(fresh.decode(with_right_check(decoder, body, sequence), sequence).frame)

    def absurd(messages: Callable[[np.random.Generator], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
        return lambda: islice(messages(np.random.default_rng(1)), _SEEDS)

    return {
        "content": Target(lambda: (packet[:-CHECK_SIZE] for packet in packets), content),
        "snapshot": Target(lambda: iter([decoder.snapshot()]), lambda data: decode_snapshot(data, load())),
        "recording": Target(lambda: iter([_recording(packets)]), _read),
        "records": Target(lambda: iter([encode_records(_records(packets))]), decode_records),
        "tile": Target(_tiles, lambda data: atlas_tiles.decode(atlas_tiles.TILES[0], data)),
        "message": Target(absurd(hostile_messages), lambda data: ClientMessages().decode(data)),
        "answer": Target(absurd(hostile_answers), lambda data: ServerMessages().decode(data)),
    }


def _records(packets: Sequence[bytes]) -> list[RecordedFrame]:
    return [RecordedFrame(number, 33_333 * number, 0, not number, data) for number, data in enumerate(packets)]


def _recording(packets: Sequence[bytes]) -> bytes:
    """A file with frames and a blob."""
    facts = RecordingFacts(2, "00" * 8, "sender", "0", "clip", live=False, began_at=0.0)
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


def _tiles() -> Iterator[bytes]:
    """A tile that is known in part, and a withdrawn one."""
    rng = np.random.default_rng(2)
    rgb = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 128, np.uint8)
    yield atlas_tiles.encode(atlas_tiles.TILES[0], rgb, rng.random((ATLAS_SIZE, ATLAS_SIZE)) < 0.5)
    yield atlas_tiles.WITHDRAWN


def mutate(target: Target, inputs: float, seed: str) -> tuple[dict[str, float], list[str]]:
    """Random mutations of a decoder's inputs; counts and faults."""
    seeds, rng, counts, faults = list(target.seeds()), Random(seed), Counter[str](), list[str]()
    while counts["inputs"] < inputs and len(faults) < _MOST_FAULTS:
        data = bytearray(rng.choice(seeds))
        if data:
            rng.choice(KINDS)(data, rng, seeds)
        counts["inputs"] += 1
        try:
            target.decode(bytes(data))
        except REFUSALS:
            counts["refused"] += 1
        except Exception as error:
            faults.append(f"{type(error).__name__} ({error}) by {bytes(data[:500]).hex()}")
    return {name: float(count) for name, count in counts.items()}, faults


def attack(inputs: float, seed: str) -> tuple[dict[str, float], list[str]]:
    """So many hostile packets, and a tenth as many inputs of each other decoder; counts and faults by their names."""
    found = {"packet": attack_packets(inputs, seed)}
    for name, target in targets().items():
        found[name] = mutate(target, inputs / 10, f"{seed} {name}")
    counts = {f"{name}_{key}": value for name, (own, _) in found.items() for key, value in own.items()}
    return counts, [f"{name}: {fault}" for name, (_, faults) in found.items() for fault in faults]
