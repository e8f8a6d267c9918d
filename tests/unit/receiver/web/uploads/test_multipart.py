import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.web.uploads.multipart import UploadedFile, UploadForm, check_headers, read_upload
from receiver.web.uploads.refusals import UploadRefused

BOUNDARY = b"b0undary"
LIMIT = 100_000


def part(content: bytes = b"picture", field: str = "image", name: str = 'filename="x.jpg"') -> bytes:
    head = f'--b0undary\r\nContent-Disposition: form-data; name="{field}"; {name}\r\nContent-Type: a/b\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = b"--b0undary--\r\n"


async def read(body: bytes, chunk: int = 7, limit: int = LIMIT) -> UploadedFile:
    return await read_upload(chunks(body, chunk), BOUNDARY, form(limit))


def form(limit: int = LIMIT, seconds: float = 10.0, folder: Path | None = None) -> UploadForm:
    return UploadForm("image", "picture", limit, seconds, folder)


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("chunk", [1, 7, 4096])
async def test_picture_is_read_however_it_arrives(chunk: int) -> None:
    content = bytes(range(256)) * 4 + b"\r\n--b0undar not the end\r\n--"
    assert await read(part(content) + END, chunk) == UploadedFile("x.jpg", content)


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_file_goes_to_the_folder(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"end"
    wanted = form(2_000_000, folder=tmp_path)
    file = await read_upload(chunks(part(content) + END, 4096), BOUNDARY, wanted)
    assert file.path is not None and file.path.parent == tmp_path and file.path.read_bytes() == content
    assert file.name == "x.jpg" and file.content == b""
    for body, status in ((part(b"") + END, 415), (part(content + b"x" * 2_000_000) + END, 413)):
        with pytest.raises(UploadRefused) as raised:
            await read_upload(chunks(body, 4096), BOUNDARY, wanted)
        assert raised.value.status == status, raised.value.detail


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (END, 415),
        (b"no form at all", 400),
        (part(), 400),
        (part()[:40], 400),
        (part(b"") + END, 415),
        (part() + part() + END, 422),
        (part(field="other") + END, 422),
        (part() + part(field="csrf") + END, 422),
        (part(field="im\u202eage\0") + END, 422),
        (b"--b0undary\r\nX: y\r\n\r\npicture\r\n" + END, 400),
        (b"--b0undary\r\n" + b"A: b\r\n" * 100 + b"\r\n\r\n" + END, 400),
        (b"--b0undary\r\nContent-Disposition: " + b"x" * 20_000, 400),
        (part(b"x" * (LIMIT + 1)) + END, 413),
        (b"\r\n" * LIMIT * 2, 413),
        *((part(name=f'filename="{name}"') + END, 422) for name in ("../x.jpg", "/etc/passwd", "a/../b", "..", "\0x")),
        (part(name='filename="..\\\\..\\\\x.jpg"') + END, 422),
    ],
)  # fmt: skip
async def test_other_bodies_are_refused(body: bytes, status: int) -> None:
    for size in (1000, 3):
        if len(body) > 50_000 and size == 3:
            continue
        with pytest.raises(UploadRefused) as raised:
            await read(body, size)
        assert raised.value.status == status, raised.value.detail


async def test_no_more_than_the_limit_is_read() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield part(b"")[:-2]
        while True:
            sent += 65_536
            yield b"x" * 65_536

    with pytest.raises(UploadRefused) as raised:
        await read_upload(endless(), BOUNDARY, form())
    assert raised.value.status == 413 and sent <= 2 * 65_536


async def test_slow_body_is_refused(tmp_path: Path) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield part()[:20]
        await asyncio.Event().wait()

    for folder in (None, tmp_path):
        with pytest.raises(UploadRefused) as raised:
            await read_upload(silent(), BOUNDARY, form(seconds=0.01, folder=folder))
        assert raised.value.status == 408


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("filename*=UTF-8''..%2Fx.jpg", "picture"),
        ('filename=""', "picture"),
        ("", "picture"),
        ('filename="a\tb.jpg"', r"a\tb.jpg"),
        ('filename="ü.jpg"', "ü.jpg"),
    ],
)
async def test_name_is_made_printable(given: str, shown: str) -> None:
    assert (await read(part(name=given) + END)).name == shown


def headers(content_type: str, length: str | None, limit: int = LIMIT) -> bytes:
    return check_headers(content_type, length, form(limit))


def test_headers_are_accepted() -> None:
    assert headers("multipart/form-data; boundary=b0undary", "1000") == BOUNDARY
    assert headers('Multipart/Form-Data; boundary="b0undary"', None) == BOUNDARY


@pytest.mark.parametrize(
    ("content_type", "length", "status"),
    [
        ("", None, 415),
        ("application/json", "10", 415),
        ("image/jpeg", "10", 415),
        ("multipart/mixed; boundary=a", "10", 415),
        ("multipart/form-data", "10", 400),
        ("multipart/form-data; boundary=" + "a" * 300, "10", 400),
        ("multipart/form-data; boundary=a", "100000000", 413),
        ("multipart/form-data; boundary=a", "9" * 1000, 413),
        ("multipart/form-data; boundary=a", "-1", 400),
        ("multipart/form-data; boundary=a", "²", 400),
    ],
)
def test_other_headers_are_refused(content_type: str, length: str | None, status: int) -> None:
    with pytest.raises(UploadRefused) as raised:
        headers(content_type, length)
    assert raised.value.status == status
