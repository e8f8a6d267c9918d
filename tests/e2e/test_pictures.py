"""A picture through a real sender process and the real networks, to people in their colours."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from receiver.config import ReceiverConfig
from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.link.server import LinkServer
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.children.cameras import ChildCameras
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.children.standby import standby
from tests.support.demo_clip import demo_picture
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
        for picture in await asyncio.gather(*(pictures.reconstruct(jpeg) for _ in range(2))):
            check(picture)
        assert waiting is None or waiting.returncode is None
    finally:
        await pictures.close()


# By default, tests/integration/test_children.py has cameras of a sender without networks.
@pytest.mark.slow
async def test_browser_camera_is_published_like_any_sender(link: LinkServer, jpeg: bytes, out: Path) -> None:
    cameras = ChildCameras(link, 1, ReceiverMetrics())
    lines = out / "frames.jsonl"
    async with asyncio.timeout(120), cameras.open() as camera:
        while '"surface":"meshes/' not in lines.read_text():
            await camera.push(jpeg)
    await cameras.close()
    assert '"source":"browser camera"' in lines.read_text()
