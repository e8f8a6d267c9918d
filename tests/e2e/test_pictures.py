"""A picture through a real sender process and the real networks, to people in their colours."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.children.standby import standby
from tests.support.processes.demo_clip import demo_picture
from tests.support.receiver.running_receiver import own_link


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


@pytest.mark.slow
async def test_pictures_become_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.children.pictures._PICTURE_S", 120.0)
    jpeg, waiting = demo_picture(40), await standby("auto")
    engine = LocalEngine(await asyncio.to_thread(Reconstructor.load))
    with SessionDirectory(PublishConfig(out=tmp_path / "out")) as directory:
        pipeline = ReceiverPipeline(engine, directory, ReceiverMetrics())
        async with own_link(pipeline) as link:
            pictures = ChildPictures(link, engine.skeleton, ReceiverMetrics(), waiting=waiting)
            try:
                check(await pictures.reconstruct(jpeg))
                for picture in await asyncio.gather(*(pictures.reconstruct(jpeg) for _ in range(2))):
                    check(picture)
                assert waiting is None or waiting.returncode is None
            finally:
                await pictures.close()
        await pipeline.close()
