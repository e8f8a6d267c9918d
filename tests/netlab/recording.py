"""Packets encoded beforehand: a camera's stream without the cost of camera, networks and codec."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUP_NAMES
from tests.netlab.programs import MODEL

FPS = 30.0
# Each frame is predicted from the frame this many before it, as if that were the newest acknowledged one.
_REFERENCE_LAG = 2
_RHO = dict.fromkeys(GROUP_NAMES, 0.2)
_CAMERA = Camera(640, 480, 600.0)


@dataclass(frozen=True, slots=True)
class RecordedPacket:
    """An encoded frame.

    Args:
        payload: the packet; the frame's sequence is its index in the recording.
        key: it decodes without any earlier frame.
        bytes_by_group: not recorded.
    """

    payload: bytes
    key: bool
    bytes_by_group: Mapping[str, float] = field(default_factory=dict)


def record(people: Sequence[PersonLabels], frames: int, model: bytes = MODEL) -> Iterator[RecordedPacket]:
    """Encodes people in turn, one in each frame, as packets predicted from each other."""
    codec = FrameCodec(model)
    for sequence in range(frames):
        if sequence >= _REFERENCE_LAG:
            codec.acknowledge(sequence - _REFERENCE_LAG)
        person = people[sequence % len(people)]
        encoded = codec.encode(LabelFrame(sequence, "recorded", sequence / FPS, _CAMERA, (person,)), _RHO)
        yield RecordedPacket(encoded.payload, encoded.key)


def write(path: Path, packets: Sequence[RecordedPacket]) -> None:
    """Writes packets one after the other: length (2 bytes), key (1 byte), payload."""
    with open(path, "wb") as file:
        for packet in packets:
            file.write(len(packet.payload).to_bytes(2, "big") + bytes([packet.key]) + packet.payload)


def read(path: Path) -> list[RecordedPacket]:
    """The inverse of `write`."""
    data, at, packets = path.read_bytes(), 0, []
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at : at + 2], "big")
        packets.append(RecordedPacket(data[at + 3 : end], bool(data[at + 2])))
        at = end
    return packets
