from collections.abc import AsyncIterator

import pytest

from sender.link.client import LinkClient


@pytest.fixture
async def closing() -> AsyncIterator[list[LinkClient]]:
    """Clients that are closed after the test."""
    clients: list[LinkClient] = []
    yield clients
    for client in clients:
        await client.close()
