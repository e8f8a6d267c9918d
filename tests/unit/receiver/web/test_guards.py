import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from common.io.addresses import Address
from receiver.config import WebConfig
from receiver.web.guards import Guard, is_of_another_site
from receiver.web.metrics import WebMetrics
from tests.support.link.counting_codec import settle


def headers(origin: str | None, host: str = "studio.example:8080") -> Headers:
    return Headers({"host": host} | ({} if origin is None else {"origin": origin}))


@pytest.mark.parametrize(
    ("origin", "other"),
    [
        *((origin, False) for origin in (None, "http://studio.example:8080", "https://STUDIO.example:8080")),
        *((f"http{rest}", True) for rest in ("s://evil.example", "://studio.example", "://studio.example:8081")),
        *((origin, True) for origin in ("null", "", "studio.example:8080")),
    ],
)
def test_other_hosts_ports_and_opaque_origins_are_cross_origin(origin: str | None, other: bool) -> None:
    """The page of the server and programs are not."""
    assert is_of_another_site(headers(origin)) == other


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("studio.example", "STUDIO.example.:8080", "192.0.2.1:8080", "[2001:db8::1]:8080")),
        *((host, 403) for host in ("evil.example", "192.0.2.1.evil.example", "studio.example.evil", "", "[::1")),
    ],
)
async def test_public_page_without_tls_wants_one_of_its_names(host: str, status: int) -> None:
    async def answered(**settings: bool) -> int:
        metrics = WebMetrics(CollectorRegistry())
        app = Guard(PlainTextResponse("page"), loopback=False, metrics=metrics, hosts=config.hosts, **settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return (await client.get("http://127.0.0.1/", headers={"host": host})).status_code

    config = WebConfig(http=Address("0.0.0.0", 8080), http_host="hall.example, Studio.Example")
    assert await answered(encrypted=False) == status
    assert await answered(encrypted=True) == 200


def test_garbage_is_of_another_site_and_no_error() -> None:
    for origin in ("http://[", "http://[::1", "http://[1.2.3.4]", "\0", "//"):
        assert is_of_another_site(headers(origin, host="[")), origin
    assert is_of_another_site(Headers({"origin": "null"})), "an origin without host matches no missing host"


async def test_requests_of_one_client_wait_above_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("receiver.web.guards.sleep", sleep)
    monkeypatch.setattr("receiver.web.guards._REQUESTS_PER_S", 1e-3)
    app = Guard(PlainTextResponse("page"), loopback=True, encrypted=False, metrics=WebMetrics(CollectorRegistry()))

    async def ask(client: str, times: int) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(client, 1))) as browser:
            for _ in range(times):
                assert (await browser.get("http://127.0.0.1/")).status_code == 200

    await ask("192.0.2.1", 2)
    assert waits == pytest.approx([999, 1999], rel=0.01)
    await ask("192.0.2.2", 1)
    assert len(waits) == 3, "each client has a rate of its own"
    monkeypatch.setattr("receiver.web.guards._CLIENTS", 1)
    await ask("192.0.2.3", 1)
    assert len(app._rates) == 1, "clients are forgotten"


async def test_one_client_has_so_many_requests_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.guards.MOST_OF_ADDRESS", 2)
    answer = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await answer.wait()
        await PlainTextResponse("page")(scope, receive, send)

    app = Guard(application, loopback=True, encrypted=False, metrics=WebMetrics(CollectorRegistry()))

    async def status(host: str) -> tuple[int, str | None]:
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answered = await client.get("/")
            return answered.status_code, answered.headers.get("retry-after")

    waiting = [asyncio.create_task(status(f"2001:db8:1:2::{number}")) for number in range(2)]
    await settle()
    assert await status("2001:db8:1:2:3::1") == (429, "5")
    other = asyncio.create_task(status("2001:db8:1:3::1"))
    await settle()
    answer.set()
    assert await asyncio.gather(*waiting, other) == [(200, None)] * 3
    assert await status("2001:db8:1:2:3::1") == (200, None)


async def test_file_that_is_deleted_before_it_is_sent_is_no_matter_for_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (path := tmp_path / "000001.glb").write_bytes(b"mesh")
    answer = FileResponse(path, stat_result=path.stat())
    path.unlink()
    app = Guard(answer, loopback=True, encrypted=False, metrics=WebMetrics(CollectorRegistry()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        with contextlib.suppress(AssertionError):  # this transport wants a complete answer
            await client.get("/")
    assert caplog.records == []


@pytest.mark.parametrize(("scheme", "insists"), [("http", False), ("https", True)])
async def test_browsers_insist_on_tls_where_they_have_it(scheme: str, insists: bool) -> None:
    app = Guard(PlainTextResponse("page"), loopback=True, encrypted=False, metrics=WebMetrics(CollectorRegistry()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{scheme}://127.0.0.1") as client:
        assert ("strict-transport-security" in (await client.get("/")).headers) is insists


async def test_head_is_answered_as_get_and_makes_no_more_than_the_headers() -> None:
    made = list[int]()

    def parts() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"part"

    metrics = CollectorRegistry()
    for app, more in (
        (PlainTextResponse("page", headers={"x-said": "yes"}), {"content-length": "4"}),
        (StreamingResponse(parts(), headers={"x-said": "yes"}), {}),
    ):
        guarded = Guard(app, loopback=True, encrypted=False, metrics=WebMetrics(metrics := CollectorRegistry()))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://127.0.0.1") as client:
            answer = await client.head("/")
        assert answer.status_code == 200 and answer.content == b"" and answer.headers["x-said"] == "yes"
        assert more.items() <= answer.headers.items() and "nosniff" in answer.headers.values()
    assert made == [0]
    labels = {"method": "HEAD", "route": "unmatched", "status": "200"}
    assert metrics.get_sample_value("bodywire_web_requests_total", labels) == 1
