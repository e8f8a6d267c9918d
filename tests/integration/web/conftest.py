from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from receiver.web.children.workshop import Work, Workshop
from receiver.web.uploads.decoding import read_clip, read_picture
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.web.web_service import Site, open_site


@pytest.fixture(autouse=True)
def decoding_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each upload takes a second to start; `tests/unit/receiver/web/uploads` has its tests."""

    def decoded(kind: str, *arguments: str, content: bytes = b"") -> tuple[dict[str, Any], bytes]:
        return read_picture(content) if kind == "picture" else (read_clip(*arguments), b"")

    monkeypatch.setattr("receiver.web.uploads.decoder._decoded", decoded)


@pytest.fixture(autouse=True)
def making_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above; `tests/integration/receiver/test_workshop.py` has the tests of the process."""

    async def parts(_: Workshop, work: Work, arguments: tuple[Any, ...]) -> AsyncGenerator[bytes]:
        for part in work(*arguments):
            yield part

    monkeypatch.setattr(Workshop, "_parts", parts)


@pytest.fixture
def pictures() -> FakePictures:
    return FakePictures(people=2)


@pytest.fixture
async def site(tmp_path: Path, pictures: FakePictures) -> AsyncIterator[Site]:
    async with open_site(tmp_path, pictures) as opened:
        yield opened
