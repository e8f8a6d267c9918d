"""Attacks by packets, messages and blobs: right checksums around absurd content, and damaged ones."""

import random
import time
import zlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from common.blobs import TEXTURE
from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame, PersonLabels
from common.labels import GROUPS
from common.wire.convert import (
    MAX_BLOB_BYTES,
    MAX_CHUNK_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SEQUENCE,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    Drain,
    FrameMessage,
)
from tests.bench.abuse.outcome import Attack, Result, by_name, harmless, refused, result_of, wrong
from tests.netlab.hostile_client import CAMERA, HostileClient, HostileStream, Identity, StreamEnded, Target
from tests.netlab.hostile_packets import hostile_blobs, hostile_frames, hostile_messages, packet_mutations

_NOW_NS = 1_800_000_000 * 10**9
_SESSIONS, _PACKETS_PER_SESSION = 6, 12
_MESSAGES = 40


def person(rng: np.random.Generator, identity: int = 0) -> PersonLabels:
    """A person in some pose."""
    labels = {group.name: (rng.normal(size=group.size) / 4).astype(np.float32) for group in GROUPS}
    return PersonLabels(identity, 0.9, labels)


def _generator(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(64))


def _message(sequence: int, payload: bytes) -> FrameMessage:
    return FrameMessage(min(max(sequence, 0), MAX_SEQUENCE - 1), payload[:MAX_PAYLOAD_BYTES])


async def _offer(stream: HostileStream, message: FrameMessage) -> AckStatus | None:
    """Sends a message and returns how it was acknowledged; None if it was answered otherwise."""
    await stream.send(message)
    answer = await stream.read()
    return answer.frames[0].status if isinstance(answer, Acknowledgements) else None


async def _sessions(target: Target, rng: random.Random, messages: Iterator[FrameMessage]) -> Result:
    """Sends messages over several sessions; the receiver ends each after some rejected frames in a row."""
    decoded, end = 0, harmless()
    for _ in range(_SESSIONS):
        try:
            async with HostileClient(target).session(Identity.make(rng)) as (stream, _welcome):
                for message in islice(messages, _PACKETS_PER_SESSION):
                    decoded += await _offer(stream, message) is AckStatus.DECODED
        except StreamEnded as ended:
            end = result_of(ended)
            if end.outcome.value not in ("refused", "harmless"):
                return end
    return Result(end.outcome, f"{decoded} decoded; {end.detail}")


def chunks(number: int, data: bytes, key: int = 0, kind: str = TEXTURE, checksum: int | None = None) -> list[Chunk]:
    """A blob in chunks of the largest size."""
    crc = zlib.crc32(data) if checksum is None else checksum
    first = Chunk(number, 0, data[:MAX_CHUNK_BYTES], kind, key, len(data), crc)
    offsets = range(MAX_CHUNK_BYTES, len(data), MAX_CHUNK_BYTES)
    return [first, *(Chunk(number, offset, data[offset : offset + MAX_CHUNK_BYTES]) for offset in offsets)]


async def _send(stream: HostileStream, parts: list[Chunk]) -> None:
    for part in parts:
        await stream.send(part)
        answer = await stream.read()
        while not isinstance(answer, ChunkAck):
            answer = await stream.read()


async def _drained(stream: HostileStream) -> Result:
    await stream.send(Drain())
    return result_of(await stream.end())


async def endless_blob(target: Target, rng: random.Random) -> Result:
    """Chunks behind the announced end."""
    parts = chunks(1, rng.randbytes(40_000))
    parts += [Chunk(1, offset, bytes(1000)) for offset in range(40_000, MAX_BLOB_BYTES, 1000)]
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for part in parts:
            await stream.send(part)
        ended = await stream.end()
        return wrong("the stream ended in order") if ended.code == "OK" else result_of(ended)


async def wrong_checksum(target: Target, rng: random.Random) -> Result:
    """A whole blob whose checksum does not match, sent again a few times."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for number in range(1, 4):
            await _send(stream, chunks(number, rng.randbytes(rng.randint(1, 60_000)), checksum=rng.getrandbits(32)))
        return await _drained(stream)


async def absurd_frames(target: Target, rng: random.Random) -> Result:
    """Packets that are right in form: refused, or decoded within the bounds of the labels."""
    packets = hostile_frames(_generator(rng), FrameCodec(target.model))
    return await _sessions(
        target, rng, (_message(packet.sequence, packet.payload) for packet in packets if packet.payload)
    )


async def mutated_frames(target: Target, rng: random.Random) -> Result:
    """Damaged versions of a correct packet; one that has changed must not be decoded unless it was sealed again."""
    generator = _generator(rng)
    frame = LabelFrame(0, "abuse", 1.8e9, CAMERA, (person(generator),))
    codec = FrameCodec(target.model)
    packet = codec.encode(frame, {}).payload
    return await _sessions(
        target,
        rng,
        (_message(0, damaged) for damaged in packet_mutations(generator, packet, codec, 0) if damaged),
    )


async def absurd_messages(target: Target, rng: random.Random) -> Result:
    """Messages with fields at and beyond their limits behind a correct Hello."""
    messages = hostile_messages(_generator(rng))
    end = harmless()
    for _ in range(_SESSIONS):
        try:
            async with HostileClient(target).session(Identity.make(rng)) as (stream, _welcome):
                for message in islice(messages, _MESSAGES // _SESSIONS):
                    await stream.send(message)
                await stream.half_close()
                end = result_of(await stream.end())
        except StreamEnded as ended:
            end = result_of(ended)
        if end.outcome.value not in ("refused", "harmless"):
            return end
    return end


async def absurd_blobs(target: Target, rng: random.Random) -> Result:
    """Blobs of colours that are bombs, cut, or noise."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for number, data in enumerate(islice(hostile_blobs(_generator(rng)), 6), start=1):
            for chunk in chunks(number, data or b"\x00", key=rng.randint(0, 255)):
                await stream.send(chunk)
        await stream.half_close()
        return result_of(await stream.end())


async def replayed_frames(target: Target, rng: random.Random) -> Result:
    """Packets of one session in another one: those that are predicted lack their reference."""
    codec, generator = FrameCodec(target.model), _generator(rng)
    payloads = []
    for sequence in range(4):
        codec.acknowledge(sequence - 1)
        payloads.append(codec.encode(LabelFrame(sequence, "abuse", 1.8e9, CAMERA, (person(generator),)), {}).payload)
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for sequence, payload in enumerate(payloads[1:], start=1):
            status = await _offer(stream, _message(sequence, payload))
            if status is not AckStatus.REJECTED:
                return wrong(f"a packet of another session was {status}")
    return refused()


async def oversized_message(target: Target, rng: random.Random) -> Result:
    """A message above the limit of gRPC."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        started_s = time.monotonic()
        await stream.send(bytes(5 * 1024 * 1024))
        ended = await stream.end()
        return Result(result_of(ended).outcome, f"{ended} after {time.monotonic() - started_s:.1f} s")


ATTACKS: dict[str, Attack] = by_name(
    endless_blob,
    wrong_checksum,
    absurd_frames,
    mutated_frames,
    absurd_messages,
    absurd_blobs,
    replayed_frames,
    oversized_message,
)
