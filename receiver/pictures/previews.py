"""Small pictures of what the sender sees (`sender --share-preview`)."""

import io

from PIL import Image as Pictures

from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, Blob
from common.errors import MalformedPacket

_JPEG_END = b"\xff\xd9"


def check_preview(blob: Blob) -> None:
    """Checks a preview by its head; its decoder is the browser's, made for strangers.

    Raises:
        MalformedPacket: it is no JPEG, or has more bytes or pixels than previews have.
    """
    if len(blob.data) > MAX_PREVIEW_BYTES:
        raise MalformedPacket(f"a preview of {len(blob.data)} bytes; previews have up to {MAX_PREVIEW_BYTES}")
    try:
        with Pictures.open(io.BytesIO(blob.data), formats=["JPEG"]) as picture:
            width, height = picture.size
    # Pillow raises almost any exception for damaged files; a picture that is far too large is one of them.
    except Exception as error:
        raise MalformedPacket(f"the preview is no JPEG: {error}") from error
    if not blob.data.endswith(_JPEG_END):
        raise MalformedPacket("the preview is no JPEG: its end is missing")
    if not 1 <= min(width, height) <= max(width, height) <= MAX_PREVIEW_PX:
        raise MalformedPacket(f"a preview of {width} × {height} pixels; previews have up to {MAX_PREVIEW_PX} a side")
