"""Mutations of packets, and a decoder with the packets that it has decoded, for fuzzing of the frame codec."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import numpy as np

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.packet import code_references, seal
from common.codec.range_coder import SymbolReader
from common.codec.tables import load
from common.labels import FAST_GROUPS
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip

Mutation = Callable[[bytearray, Random, Sequence[bytes]], None]
"""Changes a packet in place, given all packets of its stream."""


def stream() -> tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]]:
    """A decoder that has decoded a clip, the clip's packets, and the correct results by sequence number."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets, right = [], {}
    for frame in clip(24, seed=40, people=2):
        encoder.acknowledge(frame.sequence - 2)
        packets.append(encoder.encode(frame, FINE_RHO).payload)
        right[frame.sequence] = decoder.decode(packets[-1], frame.sequence)
    return decoder, packets, right


def flip(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    for _bit in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    start = rng.randrange(len(data))
    data[start : start + 4] = rng.randbytes(rng.randrange(1, 12))


def cut(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def cut_and_flip(data: bytearray, rng: Random, packets: Sequence[bytes]) -> None:
    cut(data, rng, packets)
    if data:
        flip(data, rng, packets)


def insert(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randrange(1, 6))


def delete(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 6)]


def swap(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    i, j = rng.randrange(len(data)), rng.randrange(len(data))
    data[i], data[j] = data[j], data[i]


def splice(data: bytearray, rng: Random, packets: Sequence[bytes]) -> None:
    donor = packets[rng.randrange(len(packets))]
    start = rng.randrange(len(data))
    data[start:] = donor[start:]


def noise(data: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    data[:] = rng.randbytes(rng.randrange(0, 120))


KINDS: Final[tuple[Mutation, ...]] = (
    flip, overwrite, cut, cut_and_flip, insert, delete, swap, splice, noise,
)  # fmt: skip


def mutated(number: int, rng: Random, packets: Sequence[bytes]) -> tuple[int, bytes]:
    """Mutation `number` of a random packet: its sequence number and the bytes, which may be unchanged."""
    sequence = rng.randrange(len(packets))
    data = bytearray(packets[sequence])
    KINDS[number % len(KINDS)](data, rng, packets)
    return sequence, bytes(data)


def same(decoded: DecodedFrame, truth: DecodedFrame) -> bool:
    """Whether the frames have equal fast groups; of the slow ones, a decoder shows the newest that it has."""
    found, wanted = decoded.frame.people, truth.frame.people
    return [person.identity for person in found] == [person.identity for person in wanted] and all(
        np.array_equal(person.labels[name], other.labels[name])
        for person, other in zip(found, wanted, strict=True)
        for name in FAST_GROUPS
    )


def with_right_check(decoder: FrameCodec, body: bytes, sequence: int) -> bytes:
    """The packet of a body, with the check that belongs to it here, so that its content is what decides.

    Raises:
        WireError: the body has no references, or some that the decoder does not have.
    """
    lags = code_references(SymbolReader(load(), body), None)
    return seal(body, decoder._seed(sequence, decoder._find_references(sequence, lags)))
