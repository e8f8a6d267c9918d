"""Which previews are kept: those that say that they are small JPEGs."""

import io
import struct
from typing import Any

import pytest
from PIL import Image

from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, PREVIEW, Blob
from common.errors import MalformedPacket
from receiver.pictures import check_preview


def jpeg(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def claiming(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose head says that it has another size."""
    at = next(content.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in content)
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_small_jpegs_are_kept(mode: str, options: dict[str, Any]) -> None:
    for width, height in ((MAX_PREVIEW_PX, 90), (90, MAX_PREVIEW_PX), (1, 1)):
        check_preview(Blob(PREVIEW, 0, jpeg(width, height, mode, **options)))


@pytest.mark.parametrize("size", [(13_350, 13_350), (65_535, 65_535), (MAX_PREVIEW_PX + 1, 1), (1, 20_000), (64, 0)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_few_bytes_that_claim_another_size_are_refused(size: tuple[int, int], options: dict[str, Any]) -> None:
    content = claiming(jpeg(64, 48, **options), *size)
    assert len(content) < 1000
    with pytest.raises(MalformedPacket):
        check_preview(Blob(PREVIEW, 0, content))


def test_what_is_no_jpeg_or_too_long_is_refused() -> None:
    whole, other = jpeg(64, 48), io.BytesIO()
    Image.new("RGB", (64, 48)).save(other, "PNG")
    for content, why in (
        *((b"", "no JPEG"), (b"\xff\xd8\xff\xe0 a picture \xff\xd9", "no JPEG"), (whole[:-1], "its end is missing")),
        *((whole[:30], "no JPEG"), (other.getvalue(), "no JPEG"), (b"GIF89a" + whole, "no JPEG")),
        (whole[:-2] + bytes(MAX_PREVIEW_BYTES) + whole[-2:], f"previews have up to {MAX_PREVIEW_BYTES}"),
    ):
        with pytest.raises(MalformedPacket, match=why):
            check_preview(Blob(PREVIEW, 0, content))
