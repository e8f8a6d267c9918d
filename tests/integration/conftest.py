from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.link_fixture import LinkFixture


@pytest.fixture
async def link() -> AsyncIterator[LinkFixture]:
    async with AsyncExitStack() as stack:
        yield LinkFixture(stack)
