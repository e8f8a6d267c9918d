from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.ends import Ends


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        yield Ends(stack)
