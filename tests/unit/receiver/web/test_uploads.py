import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from fastapi import Request
from starlette.types import Message

from receiver.web.guards import PACE_S
from receiver.web.places import Refused
from receiver.web.uploads import UploadForm, read_form, shown_name

KIND = "multipart/form-data; boundary=b0undary"
LIMIT = 100_000
END = b"--b0undary--\r\n"


def part(content: bytes = b"picture", field: str = "image", name: str = 'filename="x.jpg"') -> bytes:
    head = f'--b0undary\r\nContent-Disposition: form-data; name="{field}"; {name}\r\nContent-Type: a/b\r\n\r\n'
    return head.encode() + content + b"\r\n"


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def request_of(body: AsyncIterator[bytes], headers: Mapping[str, str]) -> Request:
    async def receive() -> Message:
        try:
            return {"type": "http.request", "body": await anext(body), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


async def read(body: bytes, kind: str = KIND, length: str = "0", chunk: int = 4096) -> tuple[str, bytes]:
    """Name and content of the file."""
    headers = {"content-type": kind, "content-length": length}
    file = await read_form(request_of(chunks(body, chunk), headers), UploadForm("image", "picture", LIMIT, 10.0))
    try:
        return shown_name(file, "picture"), await file.read()
    finally:
        await file.close()


@pytest.mark.parametrize("chunk", [1, 7, 4096])
async def test_file_is_read_however_it_arrives(chunk: int) -> None:
    content = bytes(range(256)) * 4 + b"\r\n--b0undar not the end\r\n--"
    assert await read(part(content) + END, chunk=chunk) == ("x.jpg", content)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("x.jpg", "x.jpg"), ("../../etc/passwd", "passwd"), ("C:\\x.jpg", "x.jpg"), ("", "picture"), ("a/", "picture")],
)
async def test_name_of_a_file_has_no_folders(name: str, shown: str) -> None:
    escaped = name.replace("\\", "\\\\")
    assert (await read(part(name=f'filename="{escaped}"') + END))[0] == shown


@pytest.mark.parametrize(
    ("body", "kind", "length", "status"),
    [
        (part() + END, "application/json", "0", 415),
        (part() + END, "", "0", 415),
        (part() + END, "multipart/form-data", "0", 400),
        (b"no form at all", KIND, "0", 400),
        (part(field="image", name="x=1") + END, KIND, "0", 400),
        (part() + part() + END, KIND, "0", 400),
        (part(field="other") + END, KIND, "0", 415),
        (part(b"") + END, KIND, "0", 415),
        (END, KIND, "0", 415),
        (b"", KIND, "0", 415),
        (part(bytes(LIMIT + 1)) + END, KIND, "0", 413),
        (part(bytes(2 * LIMIT)) + END, KIND, "0", 413),
        (part() + END, KIND, "100000000", 413),
    ],
)
async def test_what_is_no_form_with_one_file_is_refused(body: bytes, kind: str, length: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        await read(body, kind, length)
    assert refused.value.status == status, refused.value.detail


async def test_body_that_comes_too_slowly_is_refused() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield part()
        await asyncio.Event().wait()

    with pytest.raises(Refused, match="too slowly") as refused:
        await read_form(request_of(slow(), {"content-type": KIND}), UploadForm("image", "picture", LIMIT, 0.05))
    assert refused.value.status == 408


@pytest.mark.parametrize(("least", "status"), [(0, None), (1e9, 408)])
async def test_body_has_a_least_rate(least: float, status: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, skipped_s = asyncio.get_running_loop(), 0.0
    real_s = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_s() + skipped_s)

    async def drip() -> AsyncIterator[bytes]:
        nonlocal skipped_s
        yield part()
        for _ in range(10):
            skipped_s += 0.7 * PACE_S
            # Timers that are due are called before the loop comes back here.
            await asyncio.sleep(0.001)
            yield b"\r\n"
        yield END

    request = request_of(drip(), {"content-type": KIND})
    form = UploadForm("image", "picture", LIMIT, 100 * PACE_S)
    if status is None:
        await (await read_form(request, form, lambda: least)).close()
        return
    with pytest.raises(Refused) as refused:
        await read_form(request, form, lambda: least)
    assert refused.value.status == status
