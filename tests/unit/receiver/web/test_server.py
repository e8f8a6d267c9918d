"""The web server: malformed bodies, and too many connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from common.io.addresses import Address
from receiver.link.config import SecurityConfig
from receiver.web import server as web_server
from receiver.web.config import WebConfig
from receiver.web.server import WebServer
from tests.support.certificate_authority import Authority

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """A large answer at `/large`, and a greeting."""
    large = scope["path"] == "/large"
    await PlainTextResponse(bytes(20_000_000) if large else "hello")(scope, receive, send)


@contextlib.asynccontextmanager
async def serving(security: SecurityConfig | None = None) -> AsyncIterator[int]:
    """A running server; yields its port."""
    server = WebServer(WebConfig(http=Address("127.0.0.1", 0)), security or SecurityConfig())
    server.start(application)
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


async def test_requests_above_the_limit_of_connections_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "_MAX_CONNECTIONS", 2)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(REQUEST)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        async with connected(port) as (second, other):
            other.write(REQUEST)
            assert b"503 " in await second.readuntil(b"\r\n\r\n")


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
