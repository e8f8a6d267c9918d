"""Key pictures become PNG files beside the meshes; what does not decode is dropped."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from common.blobs import PICTURE, Blob
from common.errors import MalformedPacket
from common.picture_codec.key_picture import KeyPicture, encode
from receiver.engine.fair_queue import FairExecutor
from receiver.pictures.key_pictures import KeyPictures
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from tests.support import fake_link


def blob(colour: int, identity: int = 3) -> Blob:
    image = np.full((96, 64, 3), colour, np.uint8)
    return Blob(PICTURE, identity, encode(KeyPicture(image, 7.25)))


async def test_newest_picture_is_written_with_its_metadata(tmp_path: Path) -> None:
    session, threads = fake_link.new_session(), FairExecutor(1, "test")
    pictures = KeyPictures(threads)
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        writer = directory.session("00", session.owner)
        pictures.take(session, writer, blob(40))
        pictures.take(session, writer, blob(200))
        await pictures.finish()
    threads.shutdown()
    found = np.asarray(Pictures.open(tmp_path / "pictures/s1-p3.png"))
    assert found.shape == (96, 64, 3) and abs(found.mean() - 200) < 20
    about = json.loads((tmp_path / "pictures/s1-p3.json").read_text())
    assert about["captured_at"] == 7.25 and about["identity"] == 3 and (about["width"], about["height"]) == (64, 96)


async def test_hostile_pictures_are_refused_or_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session, threads = fake_link.new_session(), FairExecutor(1, "test")
    pictures, good = KeyPictures(threads), blob(90)
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        writer = directory.session("00", session.owner)
        with pytest.raises(MalformedPacket, match="person 256"):
            pictures.take(session, writer, Blob(PICTURE, 256, good.data))
        with pytest.raises(MalformedPacket):
            pictures.take(session, writer, Blob(PICTURE, 3, good.data[:5]))
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                pictures.take(session, writer, Blob(PICTURE, 3, good.data[:-1] + bytes([good.data[-1] ^ 255])))
                await pictures.finish()
    threads.shutdown()
    assert caplog.text.count("dropped a picture") == 1 and not (tmp_path / "pictures").exists()
