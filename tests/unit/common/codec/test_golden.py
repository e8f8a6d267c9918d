"""Golden stream: the codec must write and read the same bytes as when it was released.

`GENERATE_EXPECTED=1` rewrites `tests/golden/codec_v7.bin`; use it only for a new codec version or new tables.
"""

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame
from common.labels import GROUP_NAMES, LABEL_SIZE, concatenate, split
from tests.support.motion.label_motion import MODEL_HASH, frame_of, person

GOLDEN = Path(__file__).parents[3] / "golden" / "codec_v7.bin"
LAG = 2


def frames() -> list[LabelFrame]:
    """Triangle waves of dyadic rationals, which are the same floats on every machine."""
    entry = np.arange(LABEL_SIZE)
    result = []
    for t in range(40):
        phase = (t * (1 + entry % 5) + 7 * entry) % 64
        vector = ((np.abs(phase - 32) - 16) / 16).astype(np.float32)
        vector[-34:] = ((entry[-34:] * 37 % 101) - 50) / np.float32(32)
        hidden = dict.fromkeys(("left_leg", "right_leg"), 0.0) if 5 < t < 30 else {}
        shown = replace(person(vector, 3), confidence=hidden)
        if 8 < t < 34:
            shown = replace(shown, labels=split(vector))
        result.append(frame_of(t, shown, *([person(-vector, 200)] if t % 20 > 9 else [])))
    return result


def encode_all() -> list[bytes]:
    codec, packets = FrameCodec(MODEL_HASH), []
    for frame in frames():
        codec.acknowledge(frame.sequence - LAG)
        rho = {name: (g + frame.sequence // 10) % 4 / 4 for g, name in enumerate(GROUP_NAMES)}
        packets.append(codec.encode(frame, rho).payload)
    return packets


def decode_all(packets: list[bytes]) -> bytes:
    """Every decoded label as little-endian float32."""
    codec, decoded = FrameCodec(MODEL_HASH), b""
    for sequence, packet in enumerate(packets):
        for person_labels in codec.decode(packet, sequence).frame.people:
            decoded += concatenate(person_labels.labels).astype("<f4").tobytes()
    return decoded


def read_golden() -> tuple[list[bytes], bytes]:
    data, packets = GOLDEN.read_bytes(), []
    (count,) = struct.unpack_from("<I", data)
    position = 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, position)
        packets.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return packets, data[position:]


def write_golden() -> None:
    packets = encode_all()
    data = struct.pack("<I", len(packets)) + b"".join(struct.pack("<I", len(p)) + p for p in packets)
    GOLDEN.write_bytes(data + decode_all(packets))


if os.environ.get("GENERATE_EXPECTED") == "1":
    write_golden()


def test_encoder_writes_the_golden_stream() -> None:
    assert encode_all() == read_golden()[0]


def test_decoder_reads_the_golden_stream() -> None:
    packets, decoded = read_golden()
    assert decode_all(packets) == decoded
