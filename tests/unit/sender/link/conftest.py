from collections.abc import AsyncIterator

import pytest

from tests.support.link.scripted_receiver import Connected
from tests.support.link.simulated_time import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    """Connects clients to scripted receivers, and closes them after the test."""
    clients = Connected()
    yield clients
    await clients.close()
