from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.link_fixture import Ends


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        yield Ends(stack)
