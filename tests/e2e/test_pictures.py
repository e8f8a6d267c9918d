"""A picture through a real sender process and the real networks, to people in their colours."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from common.wire.pictures import (
    ANSWER_PREFIX,
    PictureAccepted,
    PictureAnswer,
    PictureHeader,
    PictureRefused,
    decode_answer,
    encode_picture,
)
from receiver.config import ReceiverConfig
from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.link.server import LinkServer
from receiver.mesh.glb import GlbReader
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.children.cameras import ChildCameras
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.children.standby import standby
from tests.e2e.daemons import receiver
from tests.support.demo_clip import demo_picture
from tests.support.forked_program import ForkedProgram
from tests.support.running_receiver import own_link

FRAME = 40


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    """A frame of the demo clip."""
    return demo_picture(FRAME)


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(await asyncio.to_thread(Reconstructor.load))
    yield engine
    await engine.close()


def check(picture: ReconstructedPicture) -> None:
    (person,) = picture.people
    assert (picture.width, picture.height) == (640, 480)
    assert 50 <= picture.label_bytes <= 400
    height_m = float(np.ptp(person.surface.vertices[:, 1]))
    assert 1.0 <= height_m <= 2.2
    assert person.surface.colours is not None
    # The body regions alone would give a dozen.
    assert len(np.unique(person.surface.colours, axis=0)) > 200
    inside = (person.keypoints_2d[:, :2] >= 0) & (person.keypoints_2d[:, :2] <= [640, 480])
    assert inside.all()


@pytest.fixture
async def link(engine: LocalEngine, out: Path) -> AsyncIterator[LinkServer]:
    """The link of a receiver's own processes, to an output directory."""
    with SessionDirectory(PublishConfig(out=out)) as directory:
        pipeline = ReceiverPipeline(engine, directory, ReceiverMetrics())
        async with own_link(pipeline) as server:
            yield server
        await pipeline.close()


@pytest.fixture
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


async def test_pictures_become_people(
    engine: LocalEngine, link: LinkServer, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.web.children.pictures._PICTURE_S", 120.0)
    waiting = await standby(ReceiverConfig())
    pictures = ChildPictures(link, engine.skeleton, ReceiverMetrics(), waiting=waiting)
    try:
        check(await pictures.reconstruct(jpeg))
        for picture in await asyncio.gather(*(pictures.reconstruct(jpeg) for _ in range(4))):
            check(picture)
        assert waiting is None or waiting.returncode is None
    finally:
        await pictures.close()


def test_program_sends_pictures_to_a_sender_until_it_is_stopped(jpeg: bytes, tmp_path: Path) -> None:
    path, out = tmp_path / "in.sock", tmp_path / "out"
    with receiver(out) as running:
        flags = ["--camera", f"socket:{path}", "--peer", running.address, "--share-preview"]
        process = ForkedProgram("sender", flags)
        try:
            for name in ("one.jpg", "two.jpg"):
                assert ask(process, path, PictureHeader(name), jpeg) == PictureAccepted(name, 640, 480)
            assert isinstance(ask(process, path, PictureHeader(), b"no picture"), PictureRefused)
            while lines_of(out) < 2:
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, errors
        assert output.startswith("sent 2 frames") and not path.exists()
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["one.jpg", "two.jpg"]
    for line in lines:
        (person,) = line["people"]
        colours = GlbReader((out / person["surface"]).read_bytes()).mesh()[0].colours
        assert colours is not None and len(np.unique(colours, axis=0)) > 200


def lines_of(out: Path) -> int:
    return (out / "frames.jsonl").read_text().count("\n")


def ask(process: ForkedProgram, path: Path, header: PictureHeader, image: bytes) -> PictureAnswer:
    """Sends a picture to the sender, once it listens."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(encode_picture(header, image))
        (size,) = ANSWER_PREFIX.unpack(connection.recv(ANSWER_PREFIX.size, socket.MSG_WAITALL))
        return decode_answer(connection.recv(size, socket.MSG_WAITALL))


async def test_browser_camera_is_published_like_any_sender(link: LinkServer, jpeg: bytes, out: Path) -> None:
    cameras = ChildCameras(link, 1, ReceiverMetrics())
    lines = out / "frames.jsonl"
    async with asyncio.timeout(120), cameras.open() as camera:
        while '"surface":"meshes/' not in lines.read_text():
            await camera.push(jpeg)
    await cameras.close()
    assert '"source":"browser camera"' in lines.read_text()
