"""The plug-in of folders whose asynchronous tests run in simulated time."""

from collections.abc import Callable, Mapping

from tests.support.link.path import VirtualLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualLoop]]:
    """See pytest-asyncio."""
    return {"simulated time": VirtualLoop}
