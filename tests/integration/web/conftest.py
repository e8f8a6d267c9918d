from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from receiver.web.children.workshop import Work, Workshop
from receiver.web.decoder import Decoder
from receiver.web.decoding import read_clip, read_picture
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.web.web_service import Site, open_site


@pytest.fixture(autouse=True)
def decoding_and_making_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes take a second to start; `tests/unit/receiver/web/test_decoding.py` and `test_workshop.py` test them."""

    def decoded(_: Decoder, kind: str, given: bytes) -> tuple[dict[str, Any], bytes]:
        return read_picture(given) if kind == "picture" else (read_clip(given.decode()), b"")

    async def parts(_: Workshop, work: Work, arguments: tuple[Any, ...]) -> AsyncGenerator[bytes]:
        for part in work(*arguments):
            yield part

    monkeypatch.setattr(Decoder, "_decoded", decoded)
    monkeypatch.setattr(Decoder, "prepare", lambda _: None)
    monkeypatch.setattr(Workshop, "_parts", parts)


@pytest.fixture
def pictures() -> FakePictures:
    return FakePictures(people=2)


@pytest.fixture
async def site(tmp_path: Path, pictures: FakePictures) -> AsyncIterator[Site]:
    async with open_site(tmp_path, pictures) as opened:
        yield opened
