"""Connections that send a request's head slowly, do not read, or are too many."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from common.io.addresses import Address, bound_socket
from receiver.web import server as web_server
from receiver.web.server import DeadlineProtocol, WebSocketProtocol
from tests.support.fake_link import until

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """A large answer at `/large`, a WebSocket, and a greeting."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    else:
        large = scope["path"] == "/large"
        await PlainTextResponse(bytes(20_000_000) if large else "hello")(scope, receive, send)


@contextlib.asynccontextmanager
async def running(host: str = "127.0.0.1", proxy: str | None = None) -> AsyncIterator[uvicorn.Server]:
    """A server with the protocols."""
    config = uvicorn.Config(
        application,
        http=DeadlineProtocol,
        ws=WebSocketProtocol,
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    listener = bound_socket(Address(host, 0))
    await server.startup([listener])
    try:
        yield server
    finally:
        await server.shutdown([listener])


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """A running server; yields its port."""
    async with running() as server:
        yield port_of(server)


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@contextlib.contextmanager
def silent(server: uvicorn.Server, request: bytes) -> Iterator[socket.socket]:
    """A client with a tiny buffer that sends a request and never reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port_of(server)))
        client.sendall(request)
        yield client


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


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_client_that_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch, keep_alive: bool) -> None:
    monkeypatch.setattr(web_server, "WRITE_TIMEOUT_S", 0.2)
    close = b"" if keep_alive else b"Connection: close\r\n"
    request = REQUEST.replace(b" / ", b" /large ")[:-2] + close + b"\r\n"
    async with running() as server:
        with silent(server, request):
            await until(lambda: bool(server.server_state.connections))
            await until(lambda: not server.server_state.connections)


async def test_client_that_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "WRITE_TIMEOUT_S", 0.3)
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server), limit=1000)
        writer.write(REQUEST.replace(b" / ", b" /large "))
        received = 0
        while received < 20_000_000:
            received += len(await reader.read(400_000))
            await asyncio.sleep(0.02)
        writer.close()


async def test_pings_of_a_client_that_reads_nothing_fill_no_memory() -> None:
    async with running() as server:
        with silent(server, UPGRADE) as client:
            await until(lambda: any(isinstance(each, WebSocketProtocol) for each in server.server_state.connections))
            (connection,) = server.server_state.connections
            ping = b"\x89\xfd\0\0\0\0" + bytes(125)
            for _ in range(200):
                await asyncio.get_running_loop().run_in_executor(None, client.sendall, 1000 * ping)
            assert connection.transport.get_write_buffer_size() < 200_000


async def test_too_many_connections_close_the_one_that_is_silent_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MAX_OF_ADDRESS", 2)
    async with serving() as port, connected(port) as (silent, _), connected(port) as (first, writer):
        writer.write(REQUEST)
        assert b"200 OK" in await first.readuntil(b"\r\n\r\n")
        async with connected(port) as (second, other):
            other.write(REQUEST)
            assert b"200 OK" in await second.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(silent.read(), 10) == b""
            writer.write(REQUEST)
            assert await first.readexactly(5) == b"hello"
            assert b"200 OK" in await first.readuntil(b"\r\n\r\n")


async def test_silent_connections_leave_the_page_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MAX_CONNECTIONS", 8)
    async with running() as server, contextlib.AsyncExitStack() as attack:
        for number in range(40):
            attack.enter_context(silent(server, REQUEST.replace(b" / ", b" /large ") if number % 2 else b""))
            await asyncio.sleep(0)
        async with connected(port_of(server)) as (reader, writer):
            writer.write(REQUEST)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert len(server.server_state.connections) <= 9


async def test_websockets_that_do_not_answer_their_end_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MAX_CONNECTIONS", 4)
    async with running() as server, contextlib.AsyncExitStack() as attack:
        for _ in range(4):
            attack.enter_context(silent(server, UPGRADE))
        await until(lambda: [each.handshake_complete for each in web_sockets(server)] == 4 * [True])
        for connection in web_sockets(server):
            await connection.send({"type": "websocket.close", "code": 1013})
        async with connected(port_of(server)) as (reader, writer):
            writer.write(REQUEST)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


def web_sockets(server: uvicorn.Server) -> list[WebSocketProtocol]:
    return [each for each in server.server_state.connections if isinstance(each, WebSocketProtocol)]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize(("host", "address"), [("::1", "::1"), ("::", "127.0.0.1")])
@pytest.mark.parametrize("trusted", [True, False])
async def test_proxy_has_the_connections_of_all_its_clients_over_ipv6_too(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str, trusted: bool
) -> None:
    monkeypatch.setattr(web_server, "MAX_OF_ADDRESS", 2)
    proxy = address if trusted else "192.0.2.1"
    async with running(host, proxy) as server, contextlib.AsyncExitStack() as opened:
        for _ in range(4):
            reader, writer = await asyncio.open_connection(address, port_of(server))
            opened.callback(writer.close)
            writer.write(REQUEST)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert len(server.server_state.connections) == (4 if trusted else 2)


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
