"""A picture through a real sender process and the real networks, to people in their colours."""

import asyncio
import io
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest
from PIL import Image

from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import PublishConfig, SessionDirectory
from receiver.web.children.cameras import ChildCameras
from receiver.web.children.config import ChildrenConfig
from receiver.web.children.pictures import ChildPictures
from receiver.web.pictures import ReconstructedPicture
from sender.capture.open import DEMO_CLIP

FRAME = 40


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    """A frame of the demo clip."""
    with av.open(str(DEMO_CLIP)) as clip:
        frame = next(frame for index, frame in enumerate(clip.decode(video=0)) if index == FRAME)
        out = io.BytesIO()
        Image.fromarray(frame.to_ndarray(format="rgb24")).save(out, "JPEG", quality=92)
    return out.getvalue()


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(await asyncio.to_thread(Reconstructor.load))
    yield engine
    await engine.close()


def check(picture: ReconstructedPicture) -> None:
    (person,) = picture.people
    assert (picture.width, picture.height) == (640, 480)
    assert 50 <= picture.label_bytes <= 400
    assert {"queue", "perception", "semantics", "colours", "codec", "diffusion", "surface"} <= set(picture.stages_ms)
    height_m = float(np.ptp(person.surface.vertices[:, 1]))
    assert 1.0 <= height_m <= 2.2
    assert person.surface.colours is not None
    # The body regions alone would give a dozen.
    assert len(np.unique(person.surface.colours, axis=0)) > 200
    inside = (person.keypoints_2d[:, :2] >= 0) & (person.keypoints_2d[:, :2] <= [640, 480])
    assert inside.all()


async def test_pictures_become_people(engine: LocalEngine, jpeg: bytes) -> None:
    pictures = ChildPictures(engine, ChildrenConfig(picture_timeout=120.0))
    try:
        check(await pictures.reconstruct(jpeg))
        for picture in await asyncio.gather(*(pictures.reconstruct(jpeg) for _ in range(4))):
            check(picture)
    finally:
        await pictures.close()


async def test_browser_camera_is_published_like_any_sender(
    engine: LocalEngine, jpeg: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("out")
    with SessionDirectory(PublishConfig(out=out)) as directory:
        pipeline = ReceiverPipeline(engine, directory, ReceiverMetrics())
        cameras = ChildCameras(pipeline)
        lines = out / "frames.jsonl"
        async with asyncio.timeout(120), cameras.open() as camera:
            while '"surface":"meshes/' not in lines.read_text():
                await camera.push(jpeg)
        await cameras.close()
        await pipeline.close()
    assert '"source":"browser camera"' in lines.read_text()
