"""Attacks by messages in the wrong order, by sessions of others, and by packets and messages with absurd content.

Every state of a session, each kind of token and version, and the sender's side are the tests' (`tests/unit`,
`tests/integration`); these are attacks that may disturb others while a receiver serves them.
"""

import random
import zlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from common.blobs import TEXTURE
from common.codec.frame_codec import FrameCodec
from common.codec.packet import follow
from common.frames import LabelFrame, PersonLabels
from common.labels import GROUPS
from common.wire.convert import (
    MAX_BLOB_BYTES,
    MAX_CHUNK_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
)
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, refused, result_of, wrong
from tests.netlab.hostile_client import CAMERA, HostileClient, HostileStream, Identity, StreamEnded, Target, hello
from tests.netlab.hostile_packets import HostilePacket, hostile_frames, hostile_messages, packet_mutations

_SESSIONS, _PACKETS_PER_SESSION, _MESSAGES_PER_SESSION = 6, 12, 7
_HARMLESS = (Outcome.REFUSED, Outcome.HARMLESS)


def empty_frame(codec: FrameCodec, sequence: int) -> FrameMessage:
    """A correct frame that shows no person, which costs the receiver little."""
    encoded = codec.encode(LabelFrame(sequence, "abuse", 1.8e9, CAMERA, ()), {})
    return FrameMessage(sequence, encoded.payload)


def person(rng: np.random.Generator, identity: int = 0) -> PersonLabels:
    """A person in some pose."""
    labels = {group.name: (rng.normal(size=group.size) / 4).astype(np.float32) for group in GROUPS}
    return PersonLabels(identity, 0.9, labels)


async def acknowledgement(stream: HostileStream) -> Acknowledgement:
    """The next acknowledgement; other messages are skipped."""
    while True:
        message = await stream.read()
        if isinstance(message, Acknowledgements):
            return message.frames[0]


async def no_hello_first(target: Target, rng: random.Random) -> Result:
    """Another message, or noise, in place of Hello."""
    frame, noise = empty_frame(FrameCodec(target.model), 0), rng.randbytes(rng.randint(1, 4096))
    firsts: list[ClientMessage | bytes] = [frame, Heartbeat(1), Chunk(1, 0, b"x", "colours", 0, 1, 0), Drain()]
    async with HostileClient(target).stream() as stream:
        await stream.send(rng.choice([*firsts, b"", noise]))
        ended = await stream.end()
    return wrong("the stream ended in order") if ended.code == "OK" else result_of(ended)


async def sequences_out_of_order(target: Target, rng: random.Random) -> Result:
    """Frames in random order, some of them twice; a frame below an accepted one is a duplicate."""
    codec = FrameCodec(target.model)
    frames = [empty_frame(codec, sequence) for sequence in range(8)] * 2
    rng.shuffle(frames)
    highest = -1
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for frame in frames:
            await stream.send(frame)
            answer = await acknowledgement(stream)
            if answer.status is AckStatus.DECODED:
                if answer.sequence <= highest:
                    return wrong(f"frame {answer.sequence} was decoded after frame {highest}")
                highest = answer.sequence
    return harmless()


async def wrong_token(target: Target, rng: random.Random) -> Result:
    """No token, or a wrong one."""
    good = (target.tokens or {})[target.attacker]
    offers = ["", "Bearer ", f"Bearer {good[:-1]}", f"Basic {good}", f"Bearer {good} ", "x" * 6000]
    offer = rng.choice([None, *offers])
    async with HostileClient(target).stream({} if offer is None else {"authorization": offer}) as stream:
        await stream.send(hello(target, Identity.make(rng)))
        try:
            answer = await stream.read()
        except StreamEnded as ended:
            return result_of(ended)
    return wrong(f"{answer} for the token {offer!r}")


async def theft(target: Target, rng: random.Random) -> Result:
    """A connected victim; thieves with its session's id, and its secret or its account, who send a frame."""
    victim, codec = Identity.make(rng), FrameCodec(target.model)
    other = Identity(victim.session_id, rng.randbytes(32))
    async with HostileClient(target, target.victim).session(victim) as (stream, _):
        for account, thief in ((target.attacker, other), (target.attacker, victim), (target.victim, other)):
            try:
                async with HostileClient(target, account).session(thief, resume=rng.random() < 0.5):
                    return wrong(f"{account} {'with' if thief is victim else 'without'} the secret is let in")
            except StreamEnded as ended:
                if (result := result_of(ended)).outcome is not Outcome.REFUSED:
                    return result
        await stream.send(empty_frame(codec, 0))
        status = (await acknowledgement(stream)).status
    return refused() if status is AckStatus.DECODED else wrong(f"the victim's frame was {status.value}")


async def _sessions(target: Target, rng: random.Random, packets: Iterator[HostilePacket]) -> Result:
    """Sends packets over several sessions; the receiver ends each after some rejected frames in a row."""
    decoded, end = 0, harmless()
    for _ in range(_SESSIONS):
        try:
            async with HostileClient(target).session(Identity.make(rng)) as (stream, _welcome):
                for packet in islice(packets, _PACKETS_PER_SESSION):
                    sequence = min(max(packet.sequence, 0), MAX_SEQUENCE - 1)
                    earlier = packet.earlier if follow(packet.sequences) and packet.sequences[0] >= 0 else ()
                    payload = packet.payload[:MAX_PAYLOAD_BYTES] or b"\x00"
                    await stream.send(FrameMessage(sequence, payload, earlier=earlier))
                    decoded += (await acknowledgement(stream)).status is AckStatus.DECODED
        except StreamEnded as ended:
            end = result_of(ended)
            if end.outcome not in _HARMLESS:
                return end
    return Result(end.outcome, f"{decoded} decoded; {end.detail}")


def _generator(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(64))


async def absurd_frames(target: Target, rng: random.Random) -> Result:
    """Packets that are right in form: refused, or decoded within the bounds of the labels."""
    return await _sessions(target, rng, hostile_frames(_generator(rng), FrameCodec(target.model)))


async def mutated_frames(target: Target, rng: random.Random) -> Result:
    """Damaged versions of a correct packet; one that has changed must not be decoded unless it was sealed again."""
    generator, codec = _generator(rng), FrameCodec(target.model)
    packet = codec.encode(LabelFrame(0, "abuse", 1.8e9, CAMERA, (person(generator),)), {}).payload
    damaged = packet_mutations(generator, packet, codec, 0)
    return await _sessions(target, rng, (HostilePacket(0, data) for data in damaged))


async def absurd_messages(target: Target, rng: random.Random) -> Result:
    """Messages with fields at and beyond their limits behind a correct Hello."""
    messages, end = hostile_messages(_generator(rng)), harmless()
    for _ in range(_SESSIONS):
        try:
            async with HostileClient(target).session(Identity.make(rng)) as (stream, _welcome):
                for message in islice(messages, _MESSAGES_PER_SESSION):
                    await stream.send(message)
                await stream.half_close()
                end = result_of(await stream.end())
        except StreamEnded as ended:
            end = result_of(ended)
        if end.outcome not in _HARMLESS:
            return end
    return end


async def endless_blob(target: Target, rng: random.Random) -> Result:
    """Chunks behind the announced end."""
    data = rng.randbytes(MAX_CHUNK_BYTES)
    parts = [Chunk(1, 0, data, TEXTURE, 0, len(data), zlib.crc32(data))]
    parts += [Chunk(1, offset, bytes(1000)) for offset in range(len(data), MAX_BLOB_BYTES, 1000)]
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for part in parts:
            await stream.send(part)
        ended = await stream.end()
        return wrong("the stream ended in order") if ended.code == "OK" else result_of(ended)


PROTOCOL: dict[str, Attack] = by_name(no_hello_first, sequences_out_of_order, wrong_token)
THEFT: dict[str, Attack] = by_name(theft)
PACKETS: dict[str, Attack] = by_name(absurd_frames, mutated_frames, absurd_messages, endless_blob)
