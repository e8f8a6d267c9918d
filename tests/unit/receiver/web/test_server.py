"""Connections that send a request's head slowly, or are too many."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from receiver.web import server as web_server
from receiver.web.server import DeadlineProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """A server with the protocol; yields its port."""
    config = uvicorn.Config(
        PlainTextResponse("hello"), port=0, http=DeadlineProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_head_that_never_ends_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_S", 0.2)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(REQUEST[:-2])
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_S", 0.2)
    async with serving() as port, connected(port) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_second_request_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_S", 0.3)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(REQUEST)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        writer.write(REQUEST[:10])
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_complete_heads_are_answered() -> None:
    async with serving() as port, connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"hello"


async def test_connections_beyond_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MAX_CONNECTIONS", 1)
    async with serving() as port, connected(port) as (first, writer):
        writer.write(REQUEST)
        assert b"200 OK" in await first.readuntil(b"\r\n\r\n")
        async with connected(port) as (second, _):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(second.read(), 10) == b""
