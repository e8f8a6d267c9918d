"""Attacks by strangers, without a token, on what a receiver does before it knows them."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.io.addresses import Address
from common.wire.quic import Item
from tests.bench.abuse.connections import PREFACE, SETTINGS
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, refused, wrong
from tests.netlab.hostile_client import HostileClient, Target
from tests.netlab.hostile_quic import HALF_OPEN, hostile_quic

_HALF_OPEN_CLIENTS, _HALF_OPEN_S, _HANDSHAKE_S = 700, 4.0, 11.0
_FLOOD_S, _FLOOD_ITEMS, _FLOOD_PAUSE_S = 5.0, 12_500, 0.01
_IDLE_CLIENTS, _IDLE_SCRAPES, _MOST_SCRAPES = 520, 60, 20


async def quic_half_open(target: Target, rng: random.Random) -> Result:
    """Handshakes that stop when the address is validated; when their time is over, others are answered."""
    async with AsyncExitStack() as stack:
        for _ in range(_HALF_OPEN_CLIENTS):
            await stack.enter_async_context(hostile_quic(target.address, target.authority, HALF_OPEN))
        await asyncio.sleep(_HALF_OPEN_S)
    await asyncio.sleep(_HANDSHAKE_S)
    try:
        async with hostile_quic(target.address, target.authority):
            return harmless("another handshake is answered")
    except TimeoutError:
        return wrong("another handshake is not answered")


async def quic_items(target: Target, rng: random.Random) -> Result:
    """Items without content, as fast as they go, in place of Hello."""
    items = bytes([rng.choice((Item.TOKEN, Item.MESSAGE))]) * _FLOOD_ITEMS
    async with hostile_quic(target.address, target.authority) as client:
        for _ in range(int(_FLOOD_S / _FLOOD_PAUSE_S)):
            if client.ended.done():
                return refused(client.ended.result())
            client.put(items)
            await asyncio.sleep(_FLOOD_PAUSE_S)
    return wrong(f"taken for {_FLOOD_S:g} s")


async def quic_silence(target: Target, rng: random.Random) -> Result:
    """Nothing, or datagrams before the stream begins."""
    async with hostile_quic(target.address, target.authority) as client:
        for _ in range(rng.randint(0, 3)):
            client.put_datagram(rng.randbytes(100))
        return refused(await client.end())


async def health_watch(target: Target, rng: random.Random) -> Result:
    """A stream of the health service, which would never end."""
    async with HostileClient(target).channel() as channel:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        try:
            return wrong(f"{await call.read()}")
        except grpc.aio.AioRpcError as error:
            return refused(error.code().name)


async def idle_connections(target: Target, rng: random.Random) -> Result:
    """More connections than the receiver takes; another client is answered all the same."""
    context = ssl.create_default_context(cafile=str(target.authority))
    context.set_alpn_protocols(["h2"])
    async with _idle(target.address, _IDLE_CLIENTS, context), HostileClient(target).channel() as channel:
        check = partial(health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest(), timeout=1.0)
        for _ in range(10):
            try:
                return harmless(f"{await check(wait_for_ready=True)}")
            except grpc.aio.AioRpcError:
                continue
    return wrong("another client is not answered")


async def idle_scrapes(target: Target, rng: random.Random) -> Result:
    """Connections to the metrics that say nothing."""
    if target.metrics is None:
        return Result(Outcome.ABSENT)
    async with _idle(target.metrics, _IDLE_SCRAPES) as readers:
        reader, writer = await asyncio.open_connection(target.metrics.host, target.metrics.port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        status = await reader.readline()
        writer.close()
        held = sum(not each.at_eof() for each in readers)
    return harmless(f"{held} are held") if b" 200 " in status and held <= _MOST_SCRAPES else wrong(f"{held} are held")


@asynccontextmanager
async def _idle(
    address: Address, count: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections that say nothing, over TLS after the first words of HTTP/2."""
    pairs = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                pairs.append(await asyncio.open_connection(address.host, address.port, ssl=context))
                if context is not None:
                    pairs[-1][1].write(PREFACE + SETTINGS)
        yield [reader for reader, _ in pairs]
    finally:
        for _, writer in pairs:
            writer.transport.abort()


DOORS: dict[str, Attack] = by_name(
    quic_half_open, quic_items, quic_silence, health_watch, idle_connections, idle_scrapes
)
