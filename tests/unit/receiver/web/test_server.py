"""The web server: malformed bodies, and clients who take its connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from common.io.addresses import Address
from receiver.config import SecurityConfig, WebConfig
from receiver.web import server
from receiver.web.server import WebServer
from tests.support.link.certificate_authority import Authority
from tests.support.link.counting_codec import until

LARGE_BYTES = 20_000_000
servers: list[WebServer] = []
UPGRADE = (
    b"GET /until-left HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """A large answer at `/large`, none at `/until-left`, and a greeting."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    while scope["path"] == "/until-left" and not (await receive())["type"].endswith("disconnect"):
        pass
    if scope["type"] == "websocket":
        return
    large = scope["path"] == "/large"
    await PlainTextResponse(bytes(LARGE_BYTES) if large else "hello")(scope, receive, send)


@contextlib.asynccontextmanager
async def serving(
    security: SecurityConfig | None = None, config: WebConfig | None = None, connections: int = 256
) -> AsyncIterator[int]:
    """A running server; yields its port."""
    config = config or WebConfig(http=Address("127.0.0.1", 0))
    server = WebServer(config, security or SecurityConfig(), connections)
    server.start(application)
    servers.append(server)
    try:
        yield server.address.port
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("said", [b"", REQUEST[:20], REQUEST], ids=["silent", "half a head", "idle after an answer"])
async def test_whoever_waits_makes_room_for_a_newcomer(said: bytes) -> None:
    async with serving(connections=4) as port, contextlib.AsyncExitStack() as opened:
        waiting = [await opened.enter_async_context(connected(port)) for _ in range(8)]
        for _, writer in waiting[-2:]:
            writer.write(said)
        if said == REQUEST:
            await asyncio.gather(*(reader.readuntil(b"hello") for reader, _ in waiting[-2:]))
        assert await asyncio.gather(*(reader.read() for reader, _ in waiting[:6])) == [b""] * 6
        assert await answered(port)


async def answered(port: int) -> bool:
    """Whether a newcomer gets an answer."""
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        return b"200 OK" in await reader.readuntil(b"\r\n\r\n")


async def test_requests_in_work_make_no_room_but_slow_bodies_do() -> None:
    async with serving(connections=4) as port, contextlib.AsyncExitStack() as opened:
        for _ in range(2):
            _, writer = await opened.enter_async_context(connected(port))
            writer.write(b"GET /until-left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with connected(port) as (reader, writer):
            assert await reader.read() == b""
    async with serving(connections=4) as port, contextlib.AsyncExitStack() as opened:
        slow = [await opened.enter_async_context(connected(port)) for _ in range(2)]
        for _, writer in slow:
            writer.write(b"POST /until-left HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        assert await answered(port)
        assert await slow[0][0].read() == b""


async def test_the_proxy_has_all_connections() -> None:
    config = WebConfig(http=Address("127.0.0.1", 0), trusted_proxy="10.0.0.0/8, 127.0.0.1")
    assert [config.is_proxy(host) for host in ("10.1.2.3", "127.0.0.1", "192.0.2.1", "2001:db8::/64")] == [
        *(True, True, False, False)
    ]
    async with serving(config=config, connections=4) as port, contextlib.AsyncExitStack() as opened:
        every = [await opened.enter_async_context(connected(port)) for _ in range(4)]
        for reader, writer in every:
            writer.write(REQUEST)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("said", [b"", REQUEST[:20], REQUEST])
async def test_no_head_in_time_ends_a_connection(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.02)
    monkeypatch.setattr(server, "_LOOK_EVERY_S", 0.01)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(said)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200 OK" if said == REQUEST else b"")


async def test_half_a_tls_handshake_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.02)
    monkeypatch.setattr(server, "_LOOK_EVERY_S", 0.01)
    certificate, key = Authority.make(tmp_path / "certs").issue("receiver", "127.0.0.1")
    config = WebConfig(http=Address("0.0.0.0", 0))
    security = SecurityConfig(tls_cert=certificate, tls_key=key)
    async with serving(security, config) as port, connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01")
        assert await asyncio.wait_for(reader.read(), 10) == b""


@pytest.mark.parametrize("reads", [True, False])
async def test_whoever_does_not_read_the_answer_loses_it(reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PACE_S", 10 if reads else 0.1)
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    monkeypatch.setattr(server, "_LOOK_EVERY_S", 0.01)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        if reads:
            assert len(await reader.read()) == LARGE_BYTES
            return
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: not servers[-1]._socket.connections)


async def test_certificates_are_for_other_machines(tmp_path: Path) -> None:
    certificate, key = Authority.make(tmp_path / "certs").issue("receiver", "127.0.0.1")
    security = SecurityConfig(tls_cert=certificate, tls_key=key)
    async with serving(security) as port, connected(port) as (reader, writer):
        writer.write(REQUEST)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    for host, scheme in (("127.0.0.1", "http"), ("0.0.0.0", "https")):
        server = WebServer(WebConfig(http=Address(host, 0)), security)
        assert server.url.startswith(f"{scheme}://") and server.encrypted is (scheme == "https")
        await server.stop()


@pytest.mark.parametrize("added", [b"Content-Length: 5\r\n", b"A: " + 9000 * b"a" + b"\r\n", 200 * b"A: b\r\n"])
async def test_websocket_whose_head_cannot_be_used_is_told_so(added: bytes) -> None:
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(UPGRADE + added + b"\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400 ")


async def test_websocket_reads_so_many_frames_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FRAMES_PER_S", 1e-3)
    monkeypatch.setattr(server, "_PIECE_BYTES", 600)
    ping, pong = b"\x89\x80\0\0\0\0", b"\x8a\0"
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        (protocol,) = servers[-1]._protocols
        for _ in range(2):
            protocol._rested()
            writer.write(1000 * ping)
            assert await reader.readexactly(100 * len(pong)) == 100 * pong
            assert await answered(port), "others are answered meanwhile"
            await until(lambda: len(protocol._unread) == 900 * len(ping))
            protocol._unread.clear()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n" + 200 * b"A: b\r\n" + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + 20_000 * b"a" + b"\r\n\r\n",
        b"GET /" + 20_000 * b"a" + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /until-left HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + 2000 * b"1\r\na\r\n",
    ],
    ids=["fields", "field", "path", "chunks"],
)
async def test_requests_that_cost_more_than_they_have_bytes_are_malformed(request_bytes: bytes) -> None:
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(request_bytes)
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400 ")


async def test_text_that_is_no_utf_8_is_no_matter_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x81\0\0\0\0\xff")
        assert b"\x88" in await asyncio.wait_for(reader.read(), 10)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/", "/large"])
@pytest.mark.parametrize("early", [True, False])
async def test_malformed_body_is_no_matter_for_the_log(
    path: str, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(head if early else head + b"zz\r\n\r\n")
        first = b""
        if early:
            first = await asyncio.wait_for(reader.readline(), 10)
            writer.write(b"zz\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            answer = first + await asyncio.wait_for(reader.read(), 10)
            assert answer.startswith(b"HTTP/1.1 200" if early else b"HTTP/1.1 400")
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
