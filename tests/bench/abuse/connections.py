"""Attacks by connections that speak other protocols, by sessions that idle, and by work."""

import asyncio
import contextlib
import random
import ssl
import struct
import time

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import MAX_PEOPLE, LabelFrame
from common.wire.convert import AckStatus, Drain, FrameMessage
from tests.bench.abuse.attacks import acknowledgement, person
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, refused, result_of, wrong
from tests.netlab.hostile_client import CAMERA, HostileClient, Identity, StreamEnded, Target

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
_IDLE_SESSIONS = 70
_ANSWER_S = 5.0
_CROWD_S = 12.0
_CROWDS = (MAX_PEOPLE, MAX_PEOPLE, 16, 8)
_PATIENCE_S = 6.0
"""Time for which a sender tries to be let in."""


async def _write(target: Target, *blocks: bytes, encrypted: bool) -> Result:
    """Writes blocks to a new connection below gRPC and reads what comes back, for a while."""
    context = ssl.create_default_context(cafile=str(target.authority)) if encrypted else None
    if context is not None:
        context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(_ANSWER_S):
        reader, writer = await asyncio.open_connection(target.address.host, target.address.port, ssl=context)
    answer = 0
    try:
        for block in blocks:
            writer.write(block)
            await writer.drain()
        async with asyncio.timeout(_ANSWER_S):
            while data := await reader.read(65536):
                answer += len(data)
    except TimeoutError:
        return harmless(f"left open, {answer} bytes came back")
    except (ConnectionError, ssl.SSLError) as error:
        return refused(type(error).__name__)
    finally:
        writer.transport.abort()
    return refused(f"closed, {answer} bytes came back")


async def garbage(target: Target, rng: random.Random) -> Result:
    """Noise where TLS or HTTP/2 is expected, or the beginning of a connection and then nothing."""
    starts = [b"", b"\x16\x03\x01", b"\x16\x03\x01\xff\xff\x01", PREFACE, PREFACE + SETTINGS, b"SSH-2.0-x\r\n"]
    noise = rng.randbytes(rng.choice([0, rng.randint(1, 20_000)]))
    return await _write(target, rng.choice(starts) + noise, encrypted=rng.random() < 0.5)


async def http_2_frames(target: Target, rng: random.Random) -> Result:
    """Floods of HTTP/2 control frames, and frames with absurd fields."""
    reset = struct.pack(">BHBBII", 0, 4, 3, 0, rng.randrange(1, 2**31, 2), 8)
    window = struct.pack(">BHBBII", 0, 4, 8, 0, 0, 2**31 - 1)
    absurd = struct.pack(">BHBBI", 255, 65535, rng.randint(0, 255), 255, rng.getrandbits(32)) + rng.randbytes(1000)
    flood = rng.choice([_PING * 2000, SETTINGS * 2000, reset * 2000, window * 200, absurd])
    return await _write(target, PREFACE + SETTINGS, flood, encrypted=True)


async def idle_sessions(target: Target, rng: random.Random) -> Result:
    """More sessions than a receiver holds, which stay open and idle; another account must still be let in."""
    ends: list[StreamEnded] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_IDLE_SESSIONS):
            try:
                await stack.enter_async_context(HostileClient(target).session(Identity.make(rng), live=True))
            except StreamEnded as ended:
                ends.append(ended)
                if len(ends) >= 3:
                    break
        problem = await _locked_out(target, rng)
    if problem:
        return wrong(f"another account is refused meanwhile: {problem}")
    return refused(str(ends[-1])) if ends else wrong(f"one account holds {_IDLE_SESSIONS} sessions")


async def _locked_out(target: Target, rng: random.Random) -> str:
    """Tries for a while to begin a session as the victim; returns why it is refused, empty if it is not."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            async with HostileClient(target, target.victim).session(Identity.make(rng)) as (stream, _):
                await stream.send(Drain())
                await stream.end()
                return ""
        except StreamEnded as ended:
            if ended.code == "UNAVAILABLE":
                return ""
            if time.monotonic() > until_s:
                return str(ended)
        await asyncio.sleep(0.5)


async def _stream(target: Target, rng: random.Random, people: int, window: int) -> Result:
    """Sends frames of so many people, a window at a time, for a while."""
    generator, codec = np.random.default_rng(rng.getrandbits(64)), FrameCodec(target.model)
    crowd = tuple(person(generator, identity) for identity in range(people))
    sequence, unacknowledged, rejected = 1, 0, 0
    try:
        async with HostileClient(target).session(Identity.make(rng)) as (stream, welcome), asyncio.timeout(_CROWD_S):
            while rejected < 4:
                encoded = codec.encode(LabelFrame(sequence, "crowd", 1.8e9, CAMERA, crowd), {})
                await stream.send(FrameMessage(sequence, encoded.payload))
                sequence, unacknowledged = sequence + 1, unacknowledged + 1
                if unacknowledged >= min(window, welcome.window):
                    answer = await acknowledgement(stream)
                    unacknowledged -= 1
                    rejected += answer.status is AckStatus.REJECTED
    except TimeoutError:
        return harmless(f"{sequence - 1} frames of {people} people")
    except StreamEnded as ended:
        return result_of(ended)
    return Result(Outcome.REFUSED, f"frames of {people} people are rejected: {answer.reason}")


async def crowds(target: Target, rng: random.Random) -> Result:
    """Several sessions of one account at the same time, each with a full window."""
    streams = [_stream(target, rng, rng.choice(_CROWDS), 8) for _ in range(rng.randint(1, 6))]
    results = await asyncio.gather(*streams)
    faults = [result for result in results if result.outcome in (Outcome.UNHANDLED, Outcome.HANG)]
    return faults[0] if faults else results[0]


CONNECTIONS: dict[str, Attack] = by_name(garbage, http_2_frames, idle_sessions)
LOAD: dict[str, Attack] = by_name(crowds)
