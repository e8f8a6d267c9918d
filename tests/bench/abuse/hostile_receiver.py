"""Attacks by a hostile receiver on the sender's link client, which must go on, or end with an error of ours."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import grpc
import numpy as np

from common.blobs import TEXTURE, Blob
from common.errors import BodywireError
from common.io.addresses import Address, Addresses
from common.wire.convert import (
    MAX_SEQUENCE,
    MAX_TIME_US,
    MAX_WINDOW,
    STREAM_METHOD,
    STREAM_SERVICE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ClientMessages,
    Drain,
    FrameMessage,
    Heartbeat,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from tests.bench.abuse.outcome import Attack, Outcome, Result
from tests.netlab.durable_sender import frame_of
from tests.netlab.hostile_client import Identity, Target, hello
from tests.netlab.hostile_packets import hostile_answers
from tests.netlab.programs import FixedRate

_CLIENT_S, _CLIENT_FPS = 1.5, 50.0
_CLOSE_LIMIT_S = 2.0
_STREAMS_PER_S = 15.0
"""More new streams than this in a second are a flood."""
_FLOOD = 300


class Stream:
    """One stream of a sender.

    Args:
        model: what an honest Welcome would name.
    """

    def __init__(self, context: Any, model: bytes, rng: random.Random) -> None:
        self.context, self.model, self.rng = context, model, rng
        self._sent, self._received = ServerMessages(), ClientMessages()

    async def write(self, *messages: ServerMessage | bytes) -> None:
        for message in messages:
            await self.context.write(message if isinstance(message, bytes) else self._sent.encode(message))

    async def read(self) -> bytes | None:
        data = await self.context.read()
        return None if data is grpc.aio.EOF else data

    async def welcome(self, **changes: Any) -> None:
        """Answers Hello."""
        await self.read()
        await self.write(replace(Welcome(True, self.model, window=8), **changes))

    async def frames(self) -> AsyncIterator[FrameMessage]:
        """The sender's frames; heartbeats are echoed."""
        while (data := await self.read()) is not None:
            message = self._received.decode(data)
            if isinstance(message, Heartbeat):
                await self.write(replace(message, received_ns=time.time_ns(), padding=b""))
            elif isinstance(message, FrameMessage):
                yield message


def acknowledge(sequence: int, **changes: Any) -> Acknowledgements:
    now_us = time.time_ns() // 1000
    return Acknowledgements((replace(Acknowledgement(sequence, AckStatus.DECODED, now_us, 1, 0), **changes),))


async def noise_in_place_of_welcome(stream: Stream) -> None:
    await stream.read()
    await stream.write(stream.rng.randbytes(stream.rng.randint(0, 5000)))


async def absurd_welcome(stream: Stream) -> None:
    """A Welcome of another version, a wild window, or sequence numbers that cannot be."""
    rng = stream.rng
    changes: list[dict[str, Any]] = [
        {"window": 64},
        {"model_hash": b"x" * 64},
        {"accepted": False, "reason": "\x1b[2J" * 9},
        {"resumed": True, "next_sequence": rng.choice([0, 5, MAX_SEQUENCE]), "decodable_from": MAX_SEQUENCE},
    ]
    await stream.welcome(**rng.choice(changes))
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence))


async def silence(stream: Stream) -> None:
    """Nothing, or nothing behind the Welcome."""
    if stream.rng.random() < 0.5:
        await stream.welcome()
    while await stream.read() is not None:
        pass


async def drain_flood(stream: Stream) -> None:
    await stream.welcome()
    await stream.write(*[Drain()] * _FLOOD)
    while await stream.read() is not None:
        pass


async def absurd_acknowledgements(stream: Stream) -> None:
    """Acknowledgements of frames that were never sent, repeated or rejected, with wild times."""
    await stream.welcome()
    async for frame in stream.frames():
        rng = stream.rng
        times = {name: rng.choice([0, 1, MAX_TIME_US]) for name in ("received_us", "spacing_us", "hold_us")}
        sequence = rng.choice([frame.sequence, frame.sequence, -1, 0, MAX_SEQUENCE, frame.sequence + 1])
        ack = acknowledge(sequence, status=rng.choice(list(AckStatus)), reason="\x1b]0;x\x07" * 9, **times)
        await stream.write(Acknowledgements(ack.frames * rng.choice([1, 1, 2, MAX_WINDOW])))


async def absurd_messages(stream: Stream) -> None:
    """Messages with fields at and beyond their limits, before or after an honest Welcome."""
    answers = hostile_answers(np.random.default_rng(stream.rng.getrandbits(64)))
    if stream.rng.random() < 0.7:
        await stream.welcome()
    await stream.write(*islice(answers, 20))
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence), *islice(answers, 3))


async def random_status(stream: Stream) -> None:
    if stream.rng.random() < 0.5:
        await stream.welcome()
    code = stream.rng.choice([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
    await stream.context.abort(code, stream.rng.choice(["", "full for now", "x" * 5000, "\x1b[2J\n\r\x00"]))


Mode = Callable[[Stream], Awaitable[None]]


class HostileReceiver:
    """A server on a free port that treats all streams in one way."""

    def __init__(self, model: bytes, mode: Mode, rng: random.Random) -> None:
        self._model, self._mode, self._rng = model, mode, rng
        self.streams = 0

    async def start(self) -> Address:
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        methods = grpc.method_handlers_generic_handler(STREAM_SERVICE, {STREAM_METHOD: handler})
        self._server.add_generic_rpc_handlers((methods,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return Address("127.0.0.1", port)

    async def stop(self) -> None:
        await self._server.stop(1.0)

    async def _serve(self, _: Any, context: Any) -> None:
        self.streams += 1
        # The sender may leave at any moment, and the server stop: gRPC would print the cancellation as a traceback.
        with contextlib.suppress(grpc.aio.BaseError, BodywireError, asyncio.InvalidStateError, asyncio.CancelledError):
            await self._mode(Stream(context, self._model, self._rng))


def _against(mode: Mode) -> Attack:
    """Runs one link client against a mode; it must close at once, too."""

    async def attack(target: Target, rng: random.Random) -> Result:
        server = HostileReceiver(target.model, mode, rng)
        peer, began_s = await server.start(), time.monotonic()
        client = LinkClient(
            LinkConfig(peer=Addresses((peer,)), connect_timeout=2.0, reconnect_timeout=2.0),
            hello(Target(peer, target.model), Identity.make(rng), sender="honest", live=rng.random() < 0.5),
            FixedRate(target.model, 0.0),
            rng=rng,
        )
        try:
            result = await _sent(client, target.answer_timeout_s)
        finally:
            closing_s = time.monotonic()
            await client.close()
            closed_s = time.monotonic()
            await server.stop()
        if closed_s - closing_s > max(_CLOSE_LIMIT_S, target.answer_timeout_s / 8):
            return Result(Outcome.HANG, f"closing took {closed_s - closing_s:.1f} s")
        rate = server.streams / max(closing_s - began_s, 1.0)
        return Result(Outcome.WRONG, f"{rate:.0f} new streams a second") if rate > _STREAMS_PER_S else result

    return attack


async def _sent(client: LinkClient, connect_limit_s: float) -> Result:
    """Connects, and sends frames and blobs for a while."""
    try:
        async with asyncio.timeout(connect_limit_s):
            await client.connect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLIENT_S):
                for sequence in range(round(_CLIENT_S * _CLIENT_FPS)):
                    await client.send(frame_of(sequence))
                    client.post(Blob(TEXTURE, 0, bytes(100)))
                    await asyncio.sleep(1 / _CLIENT_FPS)
    except TimeoutError:
        return Result(Outcome.HANG, "not connected, and no error")
    except BodywireError as error:
        return Result(Outcome.REFUSED, f"{type(error).__name__}: {error}")
    except Exception as error:  # what a daemon would die of, with a traceback
        return Result(Outcome.UNHANDLED, repr(error))
    return Result(Outcome.HARMLESS, "the client went on")


_MODES: tuple[Mode, ...] = (
    noise_in_place_of_welcome,
    absurd_welcome,
    silence,
    drain_flood,
    absurd_acknowledgements,
    absurd_messages,
    random_status,
)
ATTACKS: dict[str, Attack] = {mode.__name__: _against(mode) for mode in _MODES}
