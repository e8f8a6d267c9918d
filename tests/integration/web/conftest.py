from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.pictures.fake_pictures import FakePictures
from tests.support.web.web_service import Site, open_site


@pytest.fixture
def pictures() -> FakePictures:
    return FakePictures(people=2)


@pytest.fixture
async def site(tmp_path: Path, pictures: FakePictures) -> AsyncIterator[Site]:
    async with open_site(tmp_path, pictures) as opened:
        yield opened
