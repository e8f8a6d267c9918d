"""Attacks by blobs: endless, damaged, out of order, many, and colours of nonsense."""

import random
import zlib

from common.blobs import COLOURS
from common.wire.convert import (
    MAX_BLOB_BYTES,
    MAX_CHUNK_BYTES,
    Chunk,
    ChunkAck,
    Drain,
)
from tests.bench.abuse.outcome import Attack, Result, by_name, harmless, result_of, wrong
from tests.netlab.hostile_client import HostileClient, HostileStream, Identity, Target


def chunks(number: int, data: bytes, key: int = 0, kind: str = COLOURS, checksum: int | None = None) -> list[Chunk]:
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


async def out_of_order(target: Target, rng: random.Random) -> Result:
    """Chunks of several blobs in random order, some of them left out."""
    parts = [part for number in range(1, 4) for part in chunks(number, rng.randbytes(50_000), key=number)]
    rng.shuffle(parts)
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for part in parts[:-2]:
            await stream.send(part)
        return await _drained(stream)


async def many_begun(target: Target, rng: random.Random) -> Result:
    """Many blobs of the largest announced size that are begun and left; the receiver keeps at most one."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for number in range(1, 101):
            await stream.send(Chunk(number, 0, bytes(MAX_CHUNK_BYTES), COLOURS, number % 256, MAX_BLOB_BYTES, 0))
        return await _drained(stream)


async def odd_colours(target: Target, rng: random.Random) -> Result:
    """Colours that do not decode, keys that are no person, unknown kinds: dropped, while the stream goes on."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for number in range(1, 8):
            data = rng.choice([rng.randbytes(rng.randint(1, 5000)), b"\x01", bytes(4096), b"\x01" + bytes(100)])
            kind = rng.choice([COLOURS, COLOURS, "unknown", "%s"])
            await _send(stream, chunks(number, data, key=rng.choice([0, 255, 256, 2**32 - 1]), kind=kind))
        return await _drained(stream)


async def largest_numbers(target: Target, rng: random.Random) -> Result:
    """Blob numbers at the end of their range, and backwards."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for number in (2**32 - 1, 1, 2**31, 2**32 - 1, 2):
            await _send(stream, chunks(number, rng.randbytes(100)))
        result = await _drained(stream)
        return harmless() if result.detail.startswith("OK") else result


ATTACKS: dict[str, Attack] = by_name(
    endless_blob, wrong_checksum, out_of_order, many_begun, odd_colours, largest_numbers
)
