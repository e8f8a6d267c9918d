"""Attacks by connections, half-open and slow ones, other protocols, sessions that idle, and by work."""

import asyncio
import contextlib
import random
import ssl
import struct
import time

import grpc
import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import MAX_PEOPLE, LabelFrame
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE, AckStatus, Drain, FrameMessage
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, is_full, refused, result_of, wrong
from tests.bench.abuse.packets import person
from tests.bench.abuse.protocol import acknowledgement
from tests.netlab.hostile_client import CAMERA, HostileClient, Identity, StreamEnded, Target

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
_IDLE_SESSIONS = 70
_HOLD_S = 3.0
_ANSWER_S = 5.0
_CROWD_S = 12.0
_CROWDS = (MAX_PEOPLE, MAX_PEOPLE, 16, 8)
_PATIENCE_S = 6.0
"""Time for which a sender tries to be let in."""

_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(target: Target, *, encrypted: bool) -> _Pipe:
    """A connection below gRPC.

    Raises:
        OSError: the receiver does not accept it.
    """
    context = None
    if encrypted and target.authority is not None:
        context = ssl.create_default_context(cafile=str(target.authority))
        context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(_ANSWER_S):
        return await asyncio.open_connection(target.address.host, target.address.port, ssl=context)


async def _close(*pipes: _Pipe) -> None:
    for _, writer in pipes:
        writer.transport.abort()


async def _write(target: Target, *blocks: bytes, encrypted: bool) -> Result:
    """Writes blocks to a new connection and reads what comes back, for a while."""
    pipe = await _open(target, encrypted=encrypted)
    reader, writer = pipe
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
        await _close(pipe)
    return refused(f"closed, {answer} bytes came back")


async def garbage(target: Target, rng: random.Random) -> Result:
    """Noise where TLS or HTTP/2 is expected."""
    starts = [b"", b"\x16\x03\x01", b"\x16\x03\x01\xff\xff\x01", _PREFACE, _PREFACE + _SETTINGS, b"SSH-2.0-x\r\n"]
    block = rng.choice(starts) + rng.randbytes(rng.randint(0, 20_000))
    return await _write(target, block, encrypted=rng.random() < 0.5)


async def slow_writer(target: Target, rng: random.Random) -> Result:
    """The beginning of a connection, a byte at a time."""
    pipe = await _open(target, encrypted=rng.random() < 0.7)
    try:
        for byte in (_PREFACE + _SETTINGS)[: rng.randint(10, 33)]:
            pipe[1].write(bytes([byte]))
            await pipe[1].drain()
            await asyncio.sleep(0.1)
    except (ConnectionError, ssl.SSLError) as error:
        return refused(type(error).__name__)
    finally:
        await _close(pipe)
    return harmless()


async def http_2_frames(target: Target, rng: random.Random) -> Result:
    """Floods of HTTP/2 control frames, and frames with absurd fields."""
    reset = struct.pack(">BHBBII", 0, 4, 3, 0, rng.randrange(1, 2**31, 2), 8)
    window = struct.pack(">BHBBII", 0, 4, 8, 0, 0, 2**31 - 1)
    absurd = struct.pack(">BHBBI", 255, 65535, rng.randint(0, 255), 255, rng.getrandbits(32)) + rng.randbytes(1000)
    flood = rng.choice([_PING * 2000, _SETTINGS * 2000, reset * 2000, window * 200, absurd])
    return await _write(target, _PREFACE + _SETTINGS, flood, encrypted=True)


async def streams_without_hello(target: Target, rng: random.Random) -> Result:
    """Many streams that send nothing, on one connection; the receiver serves a few at a time, and ends each."""
    tokens = target.tokens or {}
    metadata = (("authorization", f"Bearer {tokens[target.attacker]}"),) if tokens else ()
    async with HostileClient(target).channel() as channel:
        calls = [channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata) for _ in range(50)]
        try:
            ends = [asyncio.ensure_future(call.code()) for call in calls]
            ended, _ = await asyncio.wait(ends, timeout=target.answer_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            names = {future.result().name for future in ended}
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
    if not names:
        return Result(Outcome.HANG, "no stream ended")
    return wrong(f"ended with {names}") if "OK" in names else result_of(StreamEnded(names.pop(), "no Hello"))


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


async def session_churn(target: Target, rng: random.Random) -> Result:
    """Sessions that are begun and left without an end, as fast as possible."""
    last = harmless()
    for _ in range(80):
        try:
            async with HostileClient(target).session(Identity.make(rng), live=rng.random() < 0.5):
                pass
        except StreamEnded as ended:
            last = refused(str(ended)) if is_full(ended) else result_of(ended)
            if last.outcome is not Outcome.REFUSED:
                break
    return last


async def other_methods(target: Target, rng: random.Random) -> Result:
    """Methods that do not exist, of another kind, or with a flood of metadata."""
    path = rng.choice(["/x/y", f"/{STREAM_SERVICE}/Other", f"/{STREAM_SERVICE}/{STREAM_METHOD}"])
    metadata = [(f"key-{number}", "a" * rng.randint(1, 200)) for number in range(rng.randint(0, 200))]
    async with HostileClient(target).channel() as channel:
        try:
            async with asyncio.timeout(15.0):
                await channel.unary_unary(path)(rng.randbytes(100), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            # The code `UNKNOWN` would come from an exception; an absent method is UNIMPLEMENTED.
            return result_of(StreamEnded(error.code().name, error.details() or ""))
    return wrong(f"{path} answered a unary call")


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


ATTACKS: dict[str, Attack] = by_name(
    garbage,
    slow_writer,
    http_2_frames,
    streams_without_hello,
    idle_sessions,
    session_churn,
    other_methods,
)
LOAD: dict[str, Attack] = by_name(crowds)
