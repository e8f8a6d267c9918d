"""The live view over a real server: WebSocket, what is on disk, and the guards."""

import asyncio
import io
import json
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from common.blobs import PREVIEW, Blob
from common.errors import OutputError, UsageError
from common.io.addresses import Address
from common.texture.face_picture import LandmarkShapes, LiveFace
from receiver.config import SecurityConfig, WebConfig
from receiver.publish.frame_record import FrameRecord
from receiver.web.server import WebServer
from tests.support.receiver.published_session import OWNER, person_record
from tests.support.web.live_page import Page, served

WATCH = json.dumps({"type": "watch", "session": None, "mesh": "surface", "preview": False})
WATCH_BODY = json.dumps({"type": "watch", "session": 1, "mesh": "body", "preview": False, "textures": True})


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with served(tmp_path) as page:
        yield page


async def next_frame(browser: ClientConnection) -> dict[str, Any]:
    """The header of the next binary message; text in between is skipped."""
    return (await next_message(browser))[0]


async def next_message(browser: ClientConnection) -> tuple[dict[str, Any], bytes]:
    """Header and payload of the next binary message; text in between is skipped."""
    async with asyncio.timeout(5):
        while not isinstance(message := await browser.recv(), bytes):
            pass
    return read(message)


def read(message: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


async def until_frame(browser: ClientConnection) -> tuple[list[str], dict[str, Any]]:
    """Types of the messages before the next frame, which is acknowledged, and the frame's header."""
    before = []
    while (header := await next_frame(browser))["type"] != "frame":
        before.append(header["type"])
    await browser.send(json.dumps({"type": "shown", "id": header["id"]}))
    return before, header


async def test_watcher_gets_hello_sessions_and_frames(page: Page) -> None:
    async with page.watch() as browser:
        assert json.loads(await browser.recv())["type"] == "hello"
        (session,) = json.loads(await browser.recv())["sessions"]
        assert session["number"] == 1 and session["connected"]
        await browser.send(WATCH)
        page.publish(4)
        assert (await next_frame(browser))["type"] == "topology"
        header = await next_frame(browser)
        assert header["record"]["seq"] == 4 and header["record"]["bytes"] == {"total": 51}
        assert header["people"][0]["vertices"]["count"] == 4
    assert page.count("frames_shown_total")


async def test_replay_has_no_traffic(page: Page) -> None:
    async with page.watch() as browser:
        await browser.send(WATCH)
        page.publish(0)
        _, live = await until_frame(browser)
        page.hub.sessions[1].link.replayed = True
        page.publish(1)
        _, replayed = await until_frame(browser)
    assert live["traffic"]["bits_per_second"] == 0 and replayed["traffic"] is None


async def test_browser_that_acknowledges_nothing_gets_two_frames_and_then_the_newest(page: Page) -> None:
    page.publish(0)
    async with page.watch() as browser:
        await browser.send(WATCH)
        assert (await next_frame(browser))["type"] == "topology"
        assert (await next_frame(browser))["record"]["seq"] == 0
        page.publish(1)
        assert (await next_frame(browser))["record"]["seq"] == 1
        for sequence in range(2, 30):
            page.publish(sequence)
        await browser.send(json.dumps({"type": "shown", "id": 1}))
        assert (await next_frame(browser))["record"]["seq"] == 29
    assert page.count("frames_skipped_total") == 27


async def test_colours_of_a_body_come_again_after_a_surface(page: Page) -> None:
    def watch(kind: str) -> str:
        return json.dumps({"type": "watch", "session": 1, "mesh": kind, "preview": False})

    async def coloured(browser: ClientConnection, kind: str) -> bool:
        _, header = await until_frame(browser)
        while not header["people"][0]["topology"].startswith(kind):
            _, header = await until_frame(browser)
        return "colours" in header["people"][0]

    page.publish(0, coloured=True)
    async with page.watch() as browser:
        await browser.send(watch("body"))
        assert await coloured(browser, "body")
        page.publish(0, coloured=True)
        assert not await coloured(browser, "body")
        page.publish(1, coloured=True)
        assert await coloured(browser, "body")
        await browser.send(watch("surface"))
        assert await coloured(browser, "surface")
        await browser.send(watch("body"))
        assert await coloured(browser, "body")


@pytest.mark.parametrize("kind", ["body", "surface"])
async def test_texture_comes_once_before_its_frame_in_place_of_colours(page: Page, kind: str) -> None:
    page.publish(0, coloured=True, texture=b"jpeg" * 10_000)
    page.hub.session_ended(1)
    async with page.watch() as browser:
        for before in (["topology", "texture_coordinates", "texture"], ["texture"]):
            await browser.send(WATCH_BODY.replace("body", kind))  # begins anew
            types, header = await until_frame(browser)
            assert types == before and "colours" not in header["people"][0]
        page.publish(1, coloured=True, texture=b"jpeg" * 10_000)
        types, header = await until_frame(browser)
        assert types == [] and "colours" not in header["people"][0]
        page.publish(2, coloured=True)
        types, header = await until_frame(browser)
        assert types == [] and "colours" in header["people"][0], "the texture was withdrawn"
    assert page.count("texture_bytes_total") > 80_000


@pytest.mark.parametrize(("interval_s", "sent"), [(0.0, 3), (60.0, 1)])
async def test_texture_that_changes_is_sent_again_after_a_while(
    page: Page, monkeypatch: pytest.MonkeyPatch, interval_s: float, sent: int
) -> None:
    monkeypatch.setattr("receiver.web.live.socket._TEXTURE_INTERVAL_S", interval_s)
    received: list[str] = []
    async with page.watch() as browser:
        await browser.send(WATCH_BODY)
        for sequence in range(3):
            page.publish(sequence, texture=b"jpeg" + bytes([sequence]))
            received += (await until_frame(browser))[0]
    assert received.count("texture") == sent


async def test_each_live_face_comes_once_before_a_frame_with_a_texture(page: Page) -> None:
    async with page.watch() as browser:
        await browser.send(WATCH_BODY)
        page.publish(0)
        page.hub.face_shown(1, 0, LiveFace(np.zeros((64, 64, 3), np.uint8), LandmarkShapes.load().mean))
        assert "face" not in (await until_frame(browser))[0], "without a texture it would lie on clay"
        for sequence, faces in ((1, 0), (2, 0), (3, 1)):
            if faces:
                page.hub.face_shown(1, 0, LiveFace(np.zeros((64, 64, 3), np.uint8), LandmarkShapes.load().mean))
            page.publish(sequence, coloured=True, texture=b"jpeg")
            came = (await until_frame(browser))[0].count("face")
            assert came == (sequence != 2)


async def test_preview_comes_once_to_who_wants_it(page: Page) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (16, 12)).save(picture, "JPEG")
    page.hub.blob_taken(1, Blob(PREVIEW, 0, picture.getvalue()))
    page.publish(0)
    async with page.watch() as browser:
        received = []
        for watch in (WATCH.replace("false", "true"), WATCH):
            await browser.send(watch)
            received += (await until_frame(browser))[0]
            page.publish(1)
            received += (await until_frame(browser))[0]
    assert received == ["topology", "preview"]


async def test_program_that_wants_no_textures_gets_colours_that_change(page: Page) -> None:
    async with page.watch() as browser:
        await browser.send(WATCH_BODY.replace("true", "false"))
        received = []
        for sequence in range(3):
            page.publish(sequence, coloured=True, texture=b"jpeg")
            before, header = await until_frame(browser)
            received += before
            assert "colours" in header["people"][0]
        assert received == ["topology"]


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[1]",
        '{"type": "fly"}',
        '{"type": "shown", "id": -1}',
        '{"type": "watch", "mesh": "bones"}',
        '{"type": "watch", "mesh": "body", "session": "1"}',
        '{"type": "watch", "x": "' + "y" * 2000 + '"}',
        "[" * 900,
        b"binary",
    ],
)
async def test_message_that_is_not_understood_ends_the_stream(page: Page, message: str | bytes) -> None:
    async with page.watch() as browser:
        await browser.send(message)
        assert (await refused(browser))[0] == 1008
    async with page.watch() as other:
        assert json.loads(await other.recv())["type"] == "hello"


async def refused(browser: ClientConnection) -> tuple[int, str]:
    """Code and reason with which a WebSocket is closed."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(5):
            while True:
                await browser.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_one_account_does_not_take_the_places_of_others(tmp_path: Path) -> None:
    with_account = {"additional_headers": {"authorization": "Bearer bw_anna"}}
    async with served(tmp_path, watchers=4) as page, AsyncExitStack() as opened:
        accounts = [await opened.enter_async_context(page.watch(**with_account)) for _ in range(2)]
        assert (await refused(await opened.enter_async_context(page.watch(**with_account))))[0] == 1013
        others = [await opened.enter_async_context(page.watch()) for _ in range(2)]
        assert (await refused(await opened.enter_async_context(page.watch())))[0] == 1013
        assert [json.loads(await browser.recv())["type"] for browser in (*accounts, *others)] == ["hello"] * 4


async def test_browser_that_chooses_nothing_loses_its_place(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.live.socket._CHOICE_S", 0.05)
    async with page.watch() as browser:
        assert (await refused(browser))[0] == 1008


async def test_page_that_needs_an_account(tmp_path: Path) -> None:
    async with served(tmp_path, needs_account=True) as page:
        with pytest.raises(InvalidStatus):
            async with page.watch():
                pass
        async with page.watch(additional_headers={"authorization": "Bearer bw_anna"}) as browser:
            assert json.loads(await browser.recv())["type"] == "hello"
        async with httpx.AsyncClient(base_url=page.url) as client:
            for path in ("/api/sessions", "/api/sessions/1/frames", "/api/sessions/1/meshes/000000.glb"):
                assert (await client.get(path)).status_code == 401
                signed_in = await client.get(path, headers={"authorization": "Bearer bw_anna"})
                assert signed_in.status_code in (200, 404)


async def test_watcher_who_has_signed_out_sees_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.access._RECHECK_EVERY_S", 0.05)
    anna = {"authorization": "Bearer bw_anna"}
    async with served(tmp_path, needs_account=True) as page, page.watch(additional_headers=anna) as browser:
        assert json.loads(await browser.recv())["type"] == "hello"
        page.revoke_tokens()
        assert (await refused(browser))[1] == "signed out"


async def test_page_of_another_site_is_refused(page: Page) -> None:
    with pytest.raises(InvalidStatus):
        async with page.watch(origin="https://evil.example"):
            pass
    async with page.watch(origin=page.url):
        pass
    async with httpx.AsyncClient(base_url=page.url) as client:
        rebound = await client.get("/", headers={"host": "evil.example"})
        assert rebound.status_code == 403
        assert "127.0.0.1" in rebound.json()["detail"]


async def test_files_of_the_page_and_headers(page: Page) -> None:
    async with httpx.AsyncClient(base_url=page.url) as client:
        index = await client.get("/")
        assert index.status_code == 200 and "Bodywire" in index.text
        assert "frame-ancestors 'none'" in index.headers["content-security-policy"]
        assert index.headers["cache-control"] == "no-cache"
        again = await client.get("/", headers={"if-none-match": index.headers["etag"]})
        assert again.status_code == 304
        assert "immutable" in (await client.get("/static/app-1A2B.js")).headers["cache-control"]
        for missing in ("/static/../secret", "/static/%2e%2e/index.html", "/nothing"):
            answer = await client.get(missing)
            assert answer.status_code == 404
            assert answer.json()["detail"]


async def test_frames_and_meshes_on_disk(page: Page) -> None:
    writer = page.directory.session("a", OWNER)
    record = FrameRecord(3, "clip.mp4", 10.0, 10.0, 1.0, {"total": 51}, people=(person_record(),), link_bytes=900)
    writer.append(record)
    (page.out / "meshes" / "000003.glb").write_bytes(b"glTF")
    (page.out / "secret.json").write_text("{}")
    async with httpx.AsyncClient(base_url=page.url) as client:
        (session,) = (await client.get("/api/sessions")).json()["sessions"]
        assert session["connected"] and session["may_change"] and session["bytes"] > 500
        shown = {name: session[name] for name in ("number", "source", "frames", "last_seq", "people", "label_bytes")}
        assert shown == dict(zip(shown, (1, "clip.mp4", 1, 3, 1, 51), strict=True))
        assert (await client.get("/api/sessions/1")).json() == session
        (line,) = (await client.get("/api/sessions/1/frames")).json()["frames"]
        assert line == record.as_dict(1)
        assert (await client.get("/api/sessions/1/frames?after=3")).json()["frames"] == []
        assert (await client.get("/api/sessions/2/frames")).status_code == 404
        assert (await client.get("/api/sessions/1/meshes/000003.glb")).content == b"glTF"
        for name in ("000004.glb", "..%2fsecret.json", "secret.json"):
            assert (await client.get(f"/api/sessions/1/meshes/{name}")).status_code == 404
        for path in ("/api/sessions/0/frames", "/api/sessions/x/frames", "/api/sessions/1/frames?limit=100000"):
            assert (await client.get(path)).status_code == 422
    assert page.count("requests_total", method="GET", route="/api/sessions/{number}/frames", status="200") == 2
    assert page.count("requests_total", method="GET", route="/api/sessions/{number}/meshes/{name}", status="404") == 2


async def test_busy_port_is_an_error_unless_it_is_the_default(page: Page) -> None:
    with pytest.raises(OutputError, match="give --http a free host:port"):
        WebServer(WebConfig(http=page.address), SecurityConfig())


def test_page_for_other_machines_wants_a_proxy_or_encryption() -> None:
    config = WebConfig(http=Address("0.0.0.0", 8080))
    with pytest.raises(UsageError, match=r"proxy before it .* --trusted-proxy; .* --tls-cert"):
        config.check(SecurityConfig())
    config.check(SecurityConfig(insecure=True))
    WebConfig(http=Address("0.0.0.0", 8080), trusted_proxy="10.0.0.1").check(SecurityConfig())
    WebConfig(page=False, http=Address("0.0.0.0", 8080)).check(SecurityConfig())
