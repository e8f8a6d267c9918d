"""Cameras of browsers over a real server: hostile frames, and browsers that do not read, over a fake sender process."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from receiver.web.children.sender_child import ChildCamera, ChildCameras
from receiver.web.places import NOBODY, Visitor
from tests.integration.web.test_live_page import refused
from tests.support.link.counting_codec import until
from tests.support.web.live_page import served


def jpeg(width: int = 64, height: int = 48) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "JPEG")
    return out.getvalue()


class FakeCameras(ChildCameras):
    """Processes that take each frame, after `gate` is set."""

    def __init__(self) -> None:
        self.opened: list[Visitor] = []
        self.pictures: list[bytes] = []
        self.pushed = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @asynccontextmanager
    async def open(self, visitor: Visitor = NOBODY) -> AsyncIterator[ChildCamera]:
        self.opened.append(visitor)
        self.last = _FakeCamera(self)
        yield self.last


class _FakeCamera(ChildCamera):
    def __init__(self, cameras: FakeCameras) -> None:
        self._cameras = cameras

    async def push(self, jpeg: bytes) -> bool:
        self._cameras.pushed += 1
        await self._cameras.gate.wait()
        self._cameras.pictures.append(jpeg)
        return True


async def test_frames_of_a_camera_are_acknowledged(tmp_path: Path) -> None:
    cameras = FakeCameras()
    async with served(tmp_path, cameras=cameras) as page, page.camera() as browser:
        assert json.loads(await browser.recv()) == {"type": "ready"}
        await browser.send(jpeg())
        assert json.loads(await browser.recv()) == {"type": "ack", "frame": 1, "taken": True}
    assert cameras.opened == [NOBODY]


@pytest.mark.parametrize(
    "message",
    [
        "text",
        b"",
        b"GIF89a",
        b"\xff\xd8\xff" + bytes(5000),
        b"\xff\xd8\xff\xe0" + b"\xff" * 5000,
        jpeg()[:20],
        jpeg(3000, 3000),
    ],
    ids=["text", "empty", "gif", "garbage", "fill", "cut", "large"],
)
async def test_message_that_no_camera_sends_ends_the_camera(tmp_path: Path, message: str | bytes) -> None:
    cameras = FakeCameras()
    async with served(tmp_path, cameras=cameras) as page, page.camera() as browser:
        await browser.send(message)
        assert (await refused(browser))[0] == 1008
    assert cameras.pictures == []


async def test_frames_beyond_the_limit_of_a_message_close_the_connection(tmp_path: Path) -> None:
    cameras = FakeCameras()
    async with served(tmp_path, cameras=cameras) as page, page.camera() as browser:

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(50_000)

        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(10):
                await browser.send(endless())
    assert cameras.pictures == []


async def test_browser_that_does_not_wait_is_read_slowly(tmp_path: Path) -> None:
    cameras = FakeCameras()
    cameras.gate.clear()
    async with served(tmp_path, cameras=cameras) as page, page.camera(max_queue=None) as browser:
        flood = asyncio.create_task(_flood(browser, 200))
        await until(lambda: cameras.pushed > 0)
        await asyncio.sleep(0.2)
        assert cameras.pushed == 1, "frames are kept here"
        cameras.gate.set()
        await flood
        await until(lambda: cameras.pushed == 200)


async def _flood(browser: ClientConnection, frames: int) -> None:
    for _ in range(frames):
        await browser.send(jpeg())
