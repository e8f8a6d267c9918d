"""A hostile receiver: `python -m tests.bench.abuse.hostile_receiver --journal FILE --seconds N --seed S`.

Serves streams in absurd ways, to link clients in the same process, and writes each attempt to the journal.  With
`--serve` it waits for a sender to connect to the port that it prints, and treats every stream in a random way.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from common.blobs import COLOURS, Blob
from common.errors import BodywireError
from common.io.addresses import Address, Addresses
from common.wire.convert import (
    MAX_BLOB_BYTES,
    MAX_SEQUENCE,
    MAX_TIME_NS,
    MAX_TIME_US,
    MAX_WINDOW,
    STREAM_METHOD,
    STREAM_SERVICE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ChannelReport,
    ChunkAck,
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
from tests.bench.abuse.outcome import Journal, Outcome, Result
from tests.netlab.durable_sender import frame_of
from tests.netlab.hostile_client import Identity, Target, hello
from tests.netlab.hostile_packets import hostile_answers
from tests.netlab.programs import FixedRate

FAMILY = "receiver"
_CLIENT_S = 1.5
_CLIENT_FPS = 50.0
_CLOSE_LIMIT_S = 2.0
_CONNECT_LIMIT_S = 20.0
_STREAMS_PER_S = 15.0
"""More new streams than this in a second are a flood."""
_FLOOD = 300
_GRACE_S = 1.0


class Stream:
    """One stream of a sender.

    Args:
        model: what an honest Welcome would name.
    """

    def __init__(self, context: Any, model: bytes, rng: random.Random) -> None:
        self._context, self.model, self.rng = context, model, rng
        self._sent, self._received = ServerMessages(), ClientMessages()

    async def write(self, *messages: ServerMessage | bytes) -> None:
        for message in messages:
            await self._context.write(message if isinstance(message, bytes) else self._sent.encode(message))

    async def read(self) -> bytes | None:
        data = await self._context.read()
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

    async def hold(self) -> None:
        """Reads until the sender leaves, and answers nothing."""
        while await self.read() is not None:
            pass

    def answers(self) -> Any:
        """Messages with fields at and beyond their limits."""
        return hostile_answers(np.random.default_rng(self.rng.getrandbits(64)))


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


async def no_welcome(stream: Stream) -> None:
    await stream.read()
    await stream.hold()


async def silence_after_welcome(stream: Stream) -> None:
    await stream.welcome()
    await stream.hold()


async def ends_at_once(stream: Stream) -> None:
    await stream.welcome()


async def drain_flood(stream: Stream) -> None:
    await stream.welcome()
    await stream.write(*[Drain()] * _FLOOD)
    await stream.hold()


async def absurd_acknowledgements(stream: Stream) -> None:
    """Acknowledgements of frames that were never sent, with wild times and sizes."""
    await stream.welcome()
    async for frame in stream.frames():
        rng = stream.rng
        times = {name: rng.choice([0, 1, MAX_TIME_US]) for name in ("received_us", "spacing_us", "hold_us")}
        sequence = rng.choice([frame.sequence, frame.sequence, -1, 0, MAX_SEQUENCE, frame.sequence + 1])
        ack = acknowledge(sequence, status=rng.choice(list(AckStatus)), **times)
        channel = rng.choice([None, ChannelReport(rng.choice([0, MAX_SEQUENCE]), rng.choice([-30.0, 60.0]))])
        await stream.write(Acknowledgements(ack.frames * rng.choice([1, 1, 2, MAX_WINDOW]), channel))


async def repeated_acknowledgements(stream: Stream) -> None:
    await stream.welcome()
    async for frame in stream.frames():
        await stream.write(*[acknowledge(frame.sequence)] * 20)


async def rejects_everything(stream: Stream) -> None:
    await stream.welcome()
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence, status=AckStatus.REJECTED, reason="\x1b]0;x\x07" * 9))


async def absurd_heartbeats(stream: Stream) -> None:
    await stream.welcome()
    for _ in range(_FLOOD):
        rng = stream.rng
        offset_ns = rng.choice([0, 2**62, -(2**62)])
        await stream.write(Heartbeat(rng.choice([0, 1, MAX_TIME_NS]), rng.choice([0, MAX_TIME_NS]), offset_ns, 2**62))
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence))


async def absurd_chunk_acks(stream: Stream) -> None:
    await stream.welcome()
    for _ in range(_FLOOD):
        await stream.write(ChunkAck(stream.rng.choice([1, 2, 2**32 - 1]), stream.rng.choice([0, 1, MAX_BLOB_BYTES])))
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence))


async def second_welcome(stream: Stream) -> None:
    await stream.welcome()
    async for frame in stream.frames():
        await stream.write(
            Welcome(True, stream.model, next_sequence=MAX_SEQUENCE, window=1), acknowledge(frame.sequence)
        )


async def absurd_messages(stream: Stream) -> None:
    """Messages with fields at and beyond their limits, before or after an honest Welcome."""
    if stream.rng.random() < 0.7:
        await stream.welcome()
    await stream.write(*islice(stream.answers(), 20))
    async for frame in stream.frames():
        await stream.write(acknowledge(frame.sequence), *islice(stream.answers(), 3))


async def random_status(stream: Stream) -> None:
    if stream.rng.random() < 0.5:
        await stream.welcome()
    code = stream.rng.choice([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
    await stream._context.abort(code, stream.rng.choice(["", "full for now", "x" * 5000, "\x1b[2J\n\r\x00"]))


Mode = Callable[[Stream], Awaitable[None]]
MODES: tuple[Mode, ...] = (
    noise_in_place_of_welcome,
    absurd_welcome,
    no_welcome,
    silence_after_welcome,
    ends_at_once,
    drain_flood,
    absurd_acknowledgements,
    repeated_acknowledgements,
    rejects_everything,
    absurd_heartbeats,
    absurd_chunk_acks,
    second_welcome,
    absurd_messages,
    random_status,
)


class HostileReceiver:
    """A server whose streams are treated by the present `mode`, or by a random one if that is None.

    Args:
        model: the hash of networks that it claims to have.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.mode: Mode | None = None
        self.rng = random.Random(0)
        self.streams = 0

    async def start(self) -> None:
        """Listens at `address`, on a free port."""
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        methods = grpc.method_handlers_generic_handler(STREAM_SERVICE, {STREAM_METHOD: handler})
        self._server.add_generic_rpc_handlers((methods,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.address = Address("127.0.0.1", port)

    async def stop(self) -> None:
        """Gives streams whose sender has left the time to end."""
        await self._server.stop(_GRACE_S)

    async def _serve(self, _: Any, context: Any) -> None:
        self.streams += 1
        mode = self.mode or self.rng.choice(MODES)
        # The sender may leave at any moment, and the server stop: gRPC would print the cancellation as a traceback.
        with contextlib.suppress(grpc.aio.BaseError, BodywireError, asyncio.InvalidStateError, asyncio.CancelledError):
            await mode(Stream(context, self.model, self.rng))


async def attempt(server: HostileReceiver, mode: Mode, rng: random.Random, patience: float) -> Result:
    """Runs one link client against a mode: it goes on, or ends with an error of ours, and closes at once."""
    peer, model = server.address, server.model
    server.mode, server.rng, server.streams = mode, rng, 0
    live = rng.random() < 0.5
    client = LinkClient(
        LinkConfig(peer=Addresses((peer,)), connect_timeout=2.0, reconnect_timeout=2.0),
        hello(Target(peer, model), Identity.make(rng), sender="honest", live=live),
        FixedRate(model, 0.0),
        rng=rng,
    )
    started_s, detail = time.monotonic(), "the client went on"
    try:
        async with asyncio.timeout(_CONNECT_LIMIT_S * patience):
            await client.connect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLIENT_S):
                for sequence in range(round(_CLIENT_S * _CLIENT_FPS)):
                    await client.send(frame_of(sequence))
                    client.post(Blob(COLOURS, 0, bytes(100)))
                    await asyncio.sleep(1 / _CLIENT_FPS)
    except TimeoutError:
        return Result(Outcome.HANG, f"{mode.__name__}: not connected, and no error")
    except BodywireError as error:
        detail = f"{type(error).__name__}: {error}"
    except Exception as error:  # what a daemon would die of, with a traceback
        return Result(Outcome.UNHANDLED, f"{mode.__name__}: {error!r}")
    finally:
        closing_s = time.monotonic()
        await client.close()
    if time.monotonic() - closing_s > _CLOSE_LIMIT_S * patience:
        return Result(Outcome.HANG, f"closing took {time.monotonic() - closing_s:.1f} s")
    rate = server.streams / max(time.monotonic() - started_s, 1.0)
    if rate > _STREAMS_PER_S:
        return Result(Outcome.WRONG, f"{rate:.0f} new streams a second")
    return Result(Outcome.REFUSED if "Error" in detail else Outcome.HARMLESS, detail)


async def campaign(journal: Journal, options: argparse.Namespace) -> None:
    """One attempt after the other until the time is over."""
    server, seed = HostileReceiver(options.model), options.seed
    await server.start()
    until_s, number, order = time.monotonic() + options.seconds, 0, random.Random(seed)
    modes = list(MODES)
    while time.monotonic() < until_s:
        if number % len(modes) == 0:
            order.shuffle(modes)
        mode = modes[number % len(modes)]
        number += 1
        name = f"{seed}/{number}"
        started_s = time.monotonic()
        result = await attempt(server, mode, random.Random(f"{mode.__name__} {name}"), options.patience)
        journal.write(FAMILY, mode.__name__, name, result, time.monotonic() - started_s)
    await server.stop()


async def serve(model: bytes, seed: str) -> None:
    """Serves a sender until this process is killed."""
    server = HostileReceiver(model)
    server.rng = random.Random(seed)
    await server.start()
    print(f"listening on {server.address}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.abuse.hostile_receiver")
    parser.add_argument("--model", type=bytes.fromhex, required=True, help="model hash, hexadecimal")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of time limits")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.model, options.seed))
    else:
        asyncio.run(campaign(Journal(options.journal), options))


if __name__ == "__main__":
    main()
