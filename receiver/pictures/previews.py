"""Small pictures of what the sender sees (`sender --share-preview`)."""

from common.blobs import MAX_PREVIEW_BYTES, Blob
from common.errors import MalformedPacket

_JPEG_BEGIN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def check_preview(blob: Blob) -> None:
    """Raises MalformedPacket if a preview is too large or no JPEG; its decoder is the browser's, made for strangers."""
    if len(blob.data) > MAX_PREVIEW_BYTES:
        raise MalformedPacket(f"a preview of {len(blob.data)} bytes; previews have up to {MAX_PREVIEW_BYTES}")
    if not (blob.data.startswith(_JPEG_BEGIN) and blob.data.endswith(_JPEG_END)):
        raise MalformedPacket("the preview is no JPEG")
