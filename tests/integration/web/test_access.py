"""Who may watch: the token of the printed address, and proxies before the page."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from common.io.addresses import Address
from receiver.config import SecurityConfig, WebConfig
from receiver.web.server import WebServer
from tests.support.web.live_page import served

TOKEN = "a-secret-of-the-address"
needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


async def test_loopback_page_is_for_who_has_its_address(tmp_path: Path) -> None:
    async with served(tmp_path, token=TOKEN) as page:
        port = page.address.port
        for headers in ({}, {"cookie": f"bodywire_page_{port}=x"}, {"authorization": "Bearer x"}):
            async with httpx.AsyncClient(base_url=page.url, headers=headers) as stranger:
                assert (await stranger.get("/")).status_code == 200
                for path in ("/api/sessions/1/meshes/3.glb", "/api/sessions?token=", "/api/sessions/1/frames?token=x"):
                    answer = await stranger.get(path)
                    assert answer.status_code == 401 and "address that the receiver has printed" in answer.text
            with pytest.raises(InvalidStatus):
                await page.watch(additional_headers=headers)
        async with httpx.AsyncClient(base_url=page.url, follow_redirects=True) as browser:
            opened = await browser.get(f"/?token={TOKEN}")
            assert opened.status_code == 200 and "token" not in str(opened.url)
            assert opened.history[0].headers["location"] == ".", "a proxy may have put the page into a folder"
            assert (await browser.get("/api/sessions")).status_code == 200
            cookie = f"bodywire_page_{port}={browser.cookies[f'bodywire_page_{port}']}"
        async with page.watch(additional_headers={"cookie": cookie}) as watching:
            assert json.loads(await watching.recv())["type"] == "hello"
        async with httpx.AsyncClient(base_url=page.url) as program:
            bearer = {"authorization": f"Bearer {TOKEN}"}
            assert (await program.get("/api/sessions", headers=bearer)).status_code == 200
            assert (await program.get(f"/api/sessions?token={TOKEN}")).status_code == 200
            account = {"authorization": "Bearer bw_anna"}
            assert (await program.get("/api/sessions", headers=account)).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"])
async def test_who_comes_through_a_proxy_is_not_local(tmp_path: Path, header: str) -> None:
    async with served(tmp_path, token=TOKEN) as page, httpx.AsyncClient(base_url=page.url) as visitor:
        query = f"?token={TOKEN}"
        assert (await visitor.get(f"/api/sessions{query}")).status_code == 200
        assert (await visitor.get(f"/api/sessions{query}", headers={header: "127.0.0.1"})).status_code == 401


@needs_ipv6
async def test_page_on_the_ipv6_loopback(tmp_path: Path) -> None:
    async with served(tmp_path, token=TOKEN, http="[::1]:0") as page:
        assert page.url == f"http://[::1]:{page.address.port}"
        async with httpx.AsyncClient(base_url=page.url, follow_redirects=True) as browser:
            assert (await browser.get(f"/?token={TOKEN}")).status_code == 200
            assert (await browser.get("/api/sessions")).status_code == 200
            for host, status in (("localhost:8080", 200), ("[::1]", 200), ("[::2]:8080", 403), ("evil.example", 403)):
                assert (await browser.get("/api/sessions", headers={"host": host})).status_code == status, host
        bearer = {"authorization": f"Bearer {TOKEN}"}
        async with page.watch(additional_headers=bearer, origin=page.url) as watching:
            assert json.loads(await watching.recv())["type"] == "hello"
        with pytest.raises(InvalidStatus):
            await page.watch(additional_headers=bearer, origin="http://[::2]")


@pytest.mark.parametrize(
    ("trusted", "given", "scheme"),
    [
        *(("127.0.0.1", proto, "http") for proto in ("http", "", "ftp", "https, http")),
        ("127.0.0.1", "https", "https"),
        ("192.0.2.1", "https", "http"),
    ],
)
async def test_only_a_trusted_proxy_says_that_a_browser_speaks_tls(trusted: str, given: str, scheme: str) -> None:
    seen = await seen_by_the_page("127.0.0.1:0", trusted, "127.0.0.1", {"X-Forwarded-Proto": given})
    assert seen.partition(" ")[0] == scheme


def test_address_of_the_page_has_its_token() -> None:
    def url(http: str, token: str = "auto", proxy: str | None = None) -> str:
        server = WebServer(WebConfig(http=Address.parse(http), http_token=token, trusted_proxy=proxy), SecurityConfig())
        server._socket.close()
        return server.url

    assert len({url("127.0.0.1:0").partition("token=")[2] for _ in range(2)} - {""}) == 2
    assert url("127.0.0.1:0", TOKEN).endswith(f"/?token={TOKEN}")
    for address in (url("127.0.0.1:0", "none"), url("0.0.0.0:0"), url("127.0.0.1:0", proxy="10.0.0.1")):
        assert "token" not in address
    with pytest.raises(ValueError, match="16 to 128"):
        WebConfig(http_token="short")


async def seen_by_the_page(http: str, trusted: str, client: str, more: Mapping[str, str] | None = None) -> str:
    """Scheme and client of a request by a proxy on this machine."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"{scope['scheme']} {scope['client'][0]}")(scope, receive, send)

    server = WebServer(WebConfig(http=Address.parse(http), trusted_proxy=trusted), SecurityConfig(insecure=True))
    server.start(echo)
    try:
        async with httpx.AsyncClient(base_url=f"http://{client}:{server.address.port}") as proxy:
            headers = {"X-Forwarded-For": "203.0.113.1, 192.0.2.9", **(more or {})}
            return (await proxy.get("/", headers=headers)).text
    finally:
        await server.stop()


@pytest.mark.parametrize(("trusted", "host"), [("127.0.0.1", "192.0.2.9"), ("127.0.0.2", "127.0.0.1")])
@pytest.mark.parametrize("http", ["127.0.0.1:0", pytest.param("[::]:0", marks=needs_ipv6)])
async def test_only_a_trusted_proxy_says_where_requests_come_from(http: str, trusted: str, host: str) -> None:
    assert await seen_by_the_page(http, trusted, "127.0.0.1") == f"http {host}"


def test_page_behind_a_proxy_is_for_accounts() -> None:
    assert not WebConfig().needs_account
    assert WebConfig(trusted_proxy="127.0.0.1, 10.0.0.0/8").needs_account
    with pytest.raises(ValueError, match=r"--trusted-proxy proxy\.example"):
        WebConfig(trusted_proxy="10.0.0.1,proxy.example")
