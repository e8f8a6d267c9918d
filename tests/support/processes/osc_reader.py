"""Reads OSC 1.0 packets by the specification, independently of the library that writes them."""

import struct
from collections.abc import Iterator

Message = tuple[str, tuple[str | int | float, ...]]


def messages(packet: bytes) -> Iterator[Message]:
    """The messages of a packet, those of a bundle in their order."""
    assert len(packet) % 4 == 0
    if not packet.startswith(b"#bundle\0"):
        yield _message(packet)
        return
    assert packet[8:16] == bytes(7) + b"\1", "immediately"
    at = 16
    while at < len(packet):
        (length,) = struct.unpack_from(">i", packet, at)
        yield from messages(packet[at + 4 : at + 4 + length])
        at += 4 + length


def _text(packet: bytes, at: int) -> tuple[str, int]:
    end = packet.index(0, at)
    return packet[at:end].decode("ascii"), end + 4 - end % 4


def _message(packet: bytes) -> Message:
    address, at = _text(packet, 0)
    kinds, at = _text(packet, at)
    assert address.startswith("/") and kinds.startswith(",")
    values: list[str | int | float] = []
    for kind in kinds[1:]:
        if kind == "s":
            text, at = _text(packet, at)
            values.append(text)
        else:
            values.append(struct.unpack_from({"i": ">i", "f": ">f"}[kind], packet, at)[0])
            at += 4
    assert at == len(packet)
    return address, tuple(values)
