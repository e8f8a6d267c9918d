"""Pictures of a session: key pictures of people (`sender --share-picture`), and previews (`--share-preview`)."""

import io
import json
import logging
from functools import partial

from PIL import Image as Pictures

from common.blobs import MAX_PREVIEW_BYTES, Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.io.logs import RepeatedLines
from common.picture_codec.key_picture import check, decode
from receiver.engine.fair_queue import FairExecutor
from receiver.link.session import Session
from receiver.pictures.picture_threads import PictureThreads
from receiver.publish.session_writer import SessionWriter

logger = logging.getLogger(__name__)

_JPEG_BEGIN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class KeyPictures:
    """Decodes and writes key pictures in threads; of a person's pictures that wait, the newest counts."""

    def __init__(self, threads: FairExecutor) -> None:
        self._threads = PictureThreads(threads)
        self._lines = RepeatedLines(logger)

    def take(self, session: Session, writer: SessionWriter, blob: Blob) -> None:
        """Takes a blob of the kind `PICTURE`; one that turns out not to decode is dropped with a log line.

        Raises:
            MalformedPacket: the key is none of a person, or the blob is none of a key picture.
        """
        if blob.key >= IDENTITIES:
            raise MalformedPacket(f"a picture of person {blob.key}; identities end at {IDENTITIES - 1}")
        check(blob.data)

        def refuse(error: Exception) -> None:
            self._lines.write(
                logging.WARNING, session.account, f"dropped a picture of a person of {session.sender}: {error}"
            )

        self._threads.put(session, blob.key, partial(write_picture, writer, blob), refuse)

    async def finish(self) -> None:
        """Waits until what has arrived is written."""
        await self._threads.finish()


def write_picture(writer: SessionWriter, blob: Blob) -> None:
    """Writes a key picture as PNG, with a JSON file. Raises MalformedPacket, WeightsError, OutputError."""
    picture = decode(blob.data)
    content = io.BytesIO()
    Pictures.fromarray(picture.image).save(content, "PNG")
    height, width = picture.image.shape[:2]
    about = {
        "session": writer.number,
        "identity": blob.key,
        "captured_at": picture.captured_at,
        "width": width,
        "height": height,
        "bytes": len(blob.data),
    }
    writer.write_picture(blob.key, content.getvalue(), (json.dumps(about) + "\n").encode())


def check_preview(blob: Blob) -> None:
    """Raises MalformedPacket if a preview is too large or no JPEG; its decoder is the browser's, made for strangers."""
    if len(blob.data) > MAX_PREVIEW_BYTES:
        raise MalformedPacket(f"a preview of {len(blob.data)} bytes; previews have up to {MAX_PREVIEW_BYTES}")
    if not (blob.data.startswith(_JPEG_BEGIN) and blob.data.endswith(_JPEG_END)):
        raise MalformedPacket("the preview is no JPEG")
