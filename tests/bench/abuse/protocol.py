"""Attacks on the protocol: messages in the wrong order, one session twice, floods, versions, tokens."""

import asyncio
import random
from typing import Any

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import LabelFrame
from common.wire.convert import (
    MAX_PADDING_BYTES,
    MAX_SEQUENCE,
    PROTOCOL_VERSION,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
)
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, result_of, wrong
from tests.netlab.hostile_client import CAMERA, HostileClient, HostileStream, Identity, StreamEnded, Target, hello

_NOW_NS = 1_800_000_000 * 10**9
_FLOOD = 500
_STREAMS_AT_ONCE = 20


def empty_frame(codec: FrameCodec, sequence: int) -> FrameMessage:
    """A correct frame that shows no person, which costs the receiver little."""
    encoded = codec.encode(LabelFrame(sequence, "abuse", 1.8e9, CAMERA, ()), {})
    return FrameMessage(sequence, encoded.payload)


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


async def same_session_at_once(target: Target, rng: random.Random) -> Result:
    """Many streams say Hello with one session id at the same time; each takes it from the one before."""
    identity, resume = Identity.make(rng), rng.random() < 0.5

    async def one() -> Result:
        try:
            async with HostileClient(target).session(identity, resume=resume) as (stream, _):
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                await stream.send(Drain())
                return result_of(await stream.end())
        except StreamEnded as ended:
            return result_of(ended)

    results = await asyncio.gather(*(one() for _ in range(_STREAMS_AT_ONCE)))
    faults = [result for result in results if result.outcome is Outcome.UNHANDLED]
    return faults[0] if faults else results[-1]


async def heartbeat_flood(target: Target, rng: random.Random) -> Result:
    """Heartbeats of the largest size, as fast as the connection takes them."""
    async with HostileClient(target).session(Identity.make(rng)) as (stream, _):
        for _ in range(rng.randint(10, _FLOOD)):
            await stream.send(
                Heartbeat(rng.getrandbits(61), clock_offset_ns=-(2**62), padding=bytes(MAX_PADDING_BYTES))
            )
        await stream.send(Drain())
        return result_of(await stream.end())


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


async def last_sequence_then_resume(target: Target, rng: random.Random) -> Result:
    """The highest sequence number, after which the session must still be usable."""
    identity = Identity.make(rng)
    sequence = MAX_SEQUENCE - rng.randint(1, 2)
    async with HostileClient(target).session(identity) as (stream, _):
        await stream.send(empty_frame(FrameCodec(target.model), sequence))
        answer = await acknowledgement(stream)
    try:
        async with HostileClient(target).session(identity, resume=True, resume_from=0):
            return harmless()
    except StreamEnded as ended:
        after = f"frame {sequence} was {answer.status.value}, then the session could not be resumed: {ended}"
        return wrong(after) if ended.code in ("INTERNAL", "UNKNOWN") else result_of(ended)


async def wrong_versions(target: Target, rng: random.Random) -> Result:
    """Another protocol, codec or model."""
    versions: list[dict[str, Any]] = [
        {"protocol_version": rng.choice([0, PROTOCOL_VERSION + 1, 2**32 - 1])},
        {"codec_version": rng.choice([0, CODEC_VERSION + 1, 2**32 - 1])},
        {"model_hash": rng.randbytes(rng.randint(1, 64))},
    ]
    changes = rng.choice(versions)
    try:
        async with HostileClient(target).session(Identity.make(rng), **changes):
            return wrong(f"accepted {changes}")
    except StreamEnded as ended:
        return result_of(ended)


async def wrong_token(target: Target, rng: random.Random) -> Result:
    """No token, or a wrong one."""
    if target.tokens is None:
        return Result(Outcome.ABSENT, "the receiver asks for no token")
    good = target.tokens[target.attacker]
    offers = ["", "Bearer ", f"Bearer {good[:-1]}", f"Basic {good}", f"bearer {good}", f"Bearer {good} ", "x" * 6000]
    offer = rng.choice([None, *offers])
    metadata = {} if offer is None else {"authorization": offer}
    async with HostileClient(target).stream(metadata) as stream:
        await stream.send(hello(target, Identity.make(rng)))
        try:
            answer = await stream.read()
        except StreamEnded as ended:
            return result_of(ended)
    return wrong(f"{answer} for the token {offer!r}")


async def abrupt_ends(target: Target, rng: random.Random) -> Result:
    """A stream that is cancelled or half closed at a random moment, then resumed."""
    identity, codec = Identity.make(rng), FrameCodec(target.model)
    for attempt in range(3):
        async with HostileClient(target).session(identity, resume=attempt > 0) as (stream, welcome):
            for sequence in range(welcome.next_sequence, welcome.next_sequence + rng.randint(0, 3)):
                await stream.send(empty_frame(codec, sequence))
            if rng.random() < 0.5:
                stream.cancel()
            else:
                await stream.half_close()
        codec.reset()
    return harmless()


ATTACKS: dict[str, Attack] = by_name(
    no_hello_first,
    same_session_at_once,
    heartbeat_flood,
    sequences_out_of_order,
    last_sequence_then_resume,
    wrong_versions,
    wrong_token,
    abrupt_ends,
)
